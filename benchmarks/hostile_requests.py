"""Requests to a served network that nobody may compute, for `serving.py`."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import numpy as np

PATH = "/v2/models/network/infer"
HEADER = "Inference-Header-Content-Length"

_BOMB = gzip.compress(b"[" * 50_000_000)


def head(length: int, text: int | None = None, more: str = "") -> bytes:
    """The head of a request with a body of so many bytes, so many of which are JSON."""
    header = "" if text is None else f"{HEADER}: {text}\r\n"
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{header}{more}Content-Length: {length}\r\n\r\n".encode()


def strange(rng: np.random.Generator, right: bytes) -> bytes:
    """A request with a wrong body, after which the connection goes on; made of a right one."""
    start, _, body = right.partition(b"\r\n\r\n")
    text = int(re.findall(rf"{HEADER}: (\d+)".encode(), start)[0])
    described = body[:text]
    kinds = [
        lambda: (body[: int(rng.integers(0, len(body)))], text),
        lambda: (body + rng.bytes(int(rng.integers(1, 100))), text),
        lambda: (rng.bytes(int(rng.integers(0, 5000))), None),
        lambda: (b"[" * int(rng.integers(1000, 60_000)), None),
        lambda: (b'{"inputs":' * int(rng.integers(100, 6000)), None),
        lambda: (
            described.replace(b'"shape": [', b'"shape": [' + str(int(rng.integers(-(2**62), 2**62))).encode() + b","),
            text,
        ),
        lambda: (described.replace(b"FP32", b"BYTES").replace(b"INT8", b"FP64") + body[text:], text),
        lambda: (described.replace(b'"binary_data_size": ', b'"binary_data_size": -') + body[text:], None),
        lambda: (body, int(rng.integers(text + 1, 2**40))),
        lambda: (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}', None),
        lambda: (described.replace(b'"name": "', b'"name": "' + rng.bytes(2).hex().encode()) + body[text:], text),
    ]
    content, length = kinds[int(rng.integers(len(kinds)))]()
    compressed = "Content-Encoding: gzip\r\n" if rng.integers(10) == 0 else ""
    return head(len(content), length, compressed) + content


def hostile(rng: np.random.Generator, right: bytes, count: int) -> Iterator[bytes]:
    """So many requests, each for a connection of its own: wrong bodies, and of every 20 five that are no longer HTTP,
    or lie about their length."""
    start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()
    pieces = b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(60))
    kinds = [
        head(len(_BOMB), more="Content-Encoding: gzip\r\n") + _BOMB,
        head(2**40),
        start + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n",
        start + b"Content-Length: -5\r\n\r\n",
        rng.bytes(200) + b"\r\n\r\n",
    ]
    for number in range(count):
        yield kinds[number % 20] if number % 20 < len(kinds) else strange(rng, right)
