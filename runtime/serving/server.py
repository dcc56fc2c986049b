"""The server: sessions for the artifacts that are named, a socket, how long clients keep it, and an end in order."""

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tilewright.errors import InputError, UsageError, similar
from tilewright.limits import SERVED_CONNECTIONS

from ..session import Session
from .model import Batching, Model


class Connection(H11Protocol):
    """A connection that ends when the head of a request does not come, or nothing of what is sent is taken, for as long
    as one without requests stays open."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._is_ended = False
        self._limits: dict[str, asyncio.TimerHandle] = {}
        self._limit("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._limit("head")
        else:
            self._lift("head")

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Whether the connection stays: who will say no more may still listen to what was asked for."""
        self._is_ended = True
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_ended and not self.eof_received():
            self.transport.close()

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


_NAMED = re.compile(r"(?:([\w.-]+)(?::([1-9]\d{0,8}))?=)?(.+)", re.ASCII | re.DOTALL)
_KEEP_ALIVE = 75
"""Seconds that a connection without requests stays open, longer than those who balance loads keep theirs; that the head
of a request may take to arrive, and a client to go on taking an answer."""


class Named(NamedTuple):
    """An artifact to be served."""

    name: str
    version: int
    path: str


def named(texts: Sequence[str]) -> list[Named]:
    """The artifacts that ``FILE``, ``NAME=FILE`` and ``NAME:VERSION=FILE`` name.
    Raises UsageError: two have one name and version, or a name cannot stand in a path."""
    found: dict[tuple[str, int], Named] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        if match is None:
            raise UsageError("the name of the artifact is empty")
        version, path = int(match[2] or 1), match[3]
        name = match[1] or re.split(r"[/\\]", path)[-1].removesuffix(".twa")
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            front, is_named, _ = text.partition("=")
            raise UsageError(
                f"{front if is_named else name!r} is no name for a model",
                expected="letters, digits, '_', '-' and '.'" + (", then :VERSION or not" if is_named else ""),
                hint="Give it one in front of the file: NAME=FILE.twa.",
            )
        if (name, version) in found:
            raise UsageError(
                f"there are two models {name!r} of version {version}",
                found=f"{found[name, version].path} and {path}",
                hint="Tell them apart in front of the files: NAME:VERSION=FILE.twa.",
            )
        found[name, version] = Named(name, version, path)
    return [*found.values()]


def check_batched(batched: Sequence[str], artifacts: Sequence[Named]) -> None:
    """Raise UsageError unless all these are names of models."""
    known = {each.name: None for each in artifacts}
    for name in batched:
        if name not in known:
            hint = similar(name, known)
            raise UsageError(f"--batch: there is no model {name!r}", expected=" or ".join(known), hint=hint)


def model_of(artifact: Named, session: Session, *, batched: bool, workers: int, queue: int) -> Model:
    """A session as a model, which has run once in every shape: what can go wrong does so before anyone waits."""
    shapes = [(each.manifest.inputs, each.manifest.outputs) for each in session.artifact.in_shapes()]
    batching = Batching(artifact.name, shapes) if batched else None
    for inputs, _ in shapes:
        # To some networks, zeros mean nothing.
        with suppress(InputError):
            session.run({spec.name: np.zeros(spec.shape, spec.numpy) for spec in inputs})
    return Model(artifact.name, artifact.version, session, shapes, batching, workers, queue)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is to listen.
    Raises UsageError: there is no such port; InputError: it cannot, because the address is of another machine or
    taken."""
    if port > 65535:
        # What looks addresses up takes it modulo 65536.
        raise UsageError("--port is out of range", expected="0 to 65535", found=port)
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, number)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "Choose another with --host and --port; port 0 is any that is free."
        raise InputError(f"cannot listen on {host!r}, port {port}: {reason}", hint=hint) from None
    return found


def address_of(listening: socket.socket) -> str:
    """The address of a socket as clients take it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def serve(application: ASGIApp, listening: socket.socket, drain: float, started: Callable[[], Any]) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then those that have begun, for at most `drain` seconds."""
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=SERVED_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=ceil(drain),
    )
    # The signal that ended it, it sends again when all is answered.
    with listening, suppress(KeyboardInterrupt, SystemExit):
        listening.listen()
        started()
        uvicorn.Server(config).run(sockets=[listening])
