"""What a client may keep a server waiting for, beside bodies and results."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """A connection that ends when the head of a request does not come, or nothing of what is sent is taken, for as long
    as one without requests stays open."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._limits: dict[str, asyncio.TimerHandle] = {}
        self._limit("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._limit("head")
        else:
            self._lift("head")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit("answer")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._lift("answer")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for name in [*self._limits]:
            self._lift(name)

    def send_400_response(self, msg: str) -> None:
        # A body may stop being one when the request is answered already.
        with suppress(LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def _limit(self, name: str) -> None:
        if name not in self._limits:
            self._limits[name] = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _lift(self, name: str) -> None:
        if (timer := self._limits.pop(name, None)) is not None:
            timer.cancel()
