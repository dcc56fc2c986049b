"""Connections end where a client keeps them waiting, and heads of requests are of limited length."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from tilewright.runtime.serving.server import Connection

PATIENCE = 120
"""Seconds after which a test that waits has failed."""

ENDLESS = 1 << 26
"""Bytes that no system keeps of what nobody reads."""

HEAD = b"%s /0 HTTP/1.1\r\nHost: x\r\n"

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Say so much of an answer as the path has as a number."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["path"][1:]) >> 16):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})


def asked(client: Client, keep_alive: float) -> bytes:
    """What a client finds who is connected, and connections without requests stay open for so many seconds."""

    async def connect() -> bytes:
        config = Config(answer, timeout_keep_alive=keep_alive, log_level="critical")  # pyright: ignore[reportArgumentType]
        state, loop = ServerState(), asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                found = await asyncio.wait_for(client(reader, writer), PATIENCE)
            finally:
                writer.close()
            while state.connections:
                await asyncio.sleep(0.001)
            return found

    return asyncio.run(connect())


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b"reset"


@pytest.mark.parametrize("head", [b"", HEAD % b"GET"])
def test_a_head_that_does_not_come(head: bytes) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        return await _read(reader)

    assert asked(wait, 0.05) in (b"", b"reset")


def test_an_answer_that_is_not_taken() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        writer.write(f"GET /{ENDLESS} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.5)
        transport.resume_reading()
        return await _read(reader)

    assert not asked(wait, 0.05).endswith(b"end\r\n0\r\n\r\n")


@pytest.mark.parametrize("times", [1, 3])
def test_who_says_no_more_is_answered(times: int) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET /2000000 HTTP/1.1\r\nHost: x\r\n\r\n" * times)
        writer.write_eof()
        return await _read(reader)

    # Far longer than a test may take: the connection ends with the last answer.
    found = asked(say, 2 * PATIENCE)
    assert found.count(b"HTTP/1.1 200") == found.count(b"end\r\n0\r\n\r\n") == times
    assert found.endswith(b"end\r\n0\r\n\r\n")


def test_who_says_half_a_request_and_no_more() -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST /0 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234")
        await asyncio.sleep(0.05)
        writer.write_eof()
        return await _read(reader)

    assert b"400" not in asked(say, 2 * PATIENCE)


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET /0 HTTP/1.1\r\nHost: x\r\nAnd: ",
        b"POST /0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_head_without_end(begin: bytes) -> None:
    """Nor a line that tells how long a piece of a body is."""

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(begin)
        for _ in range(ENDLESS >> 16):
            try:
                writer.write(b"1" * (1 << 16))
                await writer.drain()
            except ConnectionError:
                return b"reset"
        return b"taken"

    assert asked(write, 60) == b"reset"
