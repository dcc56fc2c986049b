"""Containers of models for the kp API, damaged in their tables, records, descriptions and artifacts."""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from kp_containers import picture_container

from tilewright.runtime.containers.files import container_bytes, read_container

from ..generator import Case, generator
from ..mutation import damage_bytes, damage_json, pick, pick_integer

_STRUCTURE = 256
"""Bytes at the beginning that hold tables and ``fw_info``, of which most cases change some."""


@cache
def containers() -> tuple[bytes, ...]:
    """One of one model and one of two."""
    with tempfile.TemporaryDirectory() as folder:
        container = picture_container(Path(folder))
    model = container.models[0]
    second = type(model)(7, model.artifact, model.inputs, model.outputs)
    return (
        container_bytes([model], "KL520", "tilewright"),
        container_bytes([model, second], "KL720", "tilewright"),
    )


def with_checksum(body: bytes) -> bytes:
    """The body of a container, made whole again."""
    return body + zlib.crc32(body).to_bytes(4, "little")


def _damage_numbers(rng: np.random.Generator, body: bytes, start: int, stop: int) -> bytes:
    """One to three numbers of two or four bytes between these offsets changed."""
    damaged = bytearray(body)
    for _ in range(int(rng.integers(1, 4))):
        size = pick(rng, (2, 4))
        at = int(rng.integers(start, max(start + 1, min(stop, len(damaged)) - size)))
        old = int.from_bytes(damaged[at : at + size], "little")
        damaged[at : at + size] = (pick_integer(rng, old) % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(damaged)


def _damage_description(rng: np.random.Generator, body: bytes) -> bytes:
    """The JSON of the nodes of a model changed, in as many bytes."""
    start = body.rindex(b'{"inputs"')
    stop = body.index(b"}]}", start) + 3
    text = json.dumps(damage_json(rng, json.loads(body[start:stop])), separators=(",", ":")).encode()
    padded = text[: stop - start].ljust(stop - start)
    return body[:start] + padded + body[stop:]


@generator("kp_containers", prepare=containers, cases=10_000)
def damaged_containers(rng: np.random.Generator) -> Case:
    """A container with numbers of its structure changed, or bytes of it, or its description, mostly with a fitting
    checksum.
    """
    whole = pick(rng, containers())
    body = whole[:-4]
    kind = int(rng.integers(10))
    setup = body.rindex(struct.pack("<I", 0x8EB5A462))
    if kind < 5:
        damaged = _damage_numbers(rng, body, 0, _STRUCTURE)
    elif kind < 6:
        damaged = _damage_numbers(rng, body, setup, len(body))
    elif kind < 8:
        damaged = _damage_description(rng, body)
    else:
        damaged = damage_bytes(rng, body)
    content = with_checksum(damaged) if rng.integers(20) else damaged + whole[-4:]
    return Case(f"kind {kind}, {len(content)} bytes", lambda: read_container(content))
