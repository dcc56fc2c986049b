"""Files of arrays, damaged in the headers, the archive or the elements: as inputs of a run, and to calibrate with."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from functools import cache

import numpy as np

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.execution import gather_inputs

from ..generator import Case, generator
from ..mutation import damage_bytes, damage_text, pick, pick_integer

_INPUTS = {"x": TensorType((1, 4), DType.F32)}
_HEADERS = 160
"""Bytes at the beginning of a file that hold what decides most."""


@cache
def arrays() -> list[bytes]:
    """Files as numpy writes them."""
    array = np.arange(20, dtype=np.float32).reshape(5, 4)
    found: list[bytes] = []
    for each in (array, np.asfortranarray(array), array[:0], array.astype(np.float64), array > 3):
        content = io.BytesIO()
        np.save(content, each)
        found.append(content.getvalue())
    return found


def _archive(members: dict[str, bytes], method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, method)
    return content.getvalue()


def damage_numbers(rng: np.random.Generator, content: bytes, start: int, stop: int) -> bytes:
    """One to three numbers of one to eight bytes between these offsets changed."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(start, max(start + 1, min(stop, len(damaged)))))
        size = pick(rng, (1, 2, 4, 8))
        order = pick(rng, ("little", "big"))
        old = int.from_bytes(damaged[at : at + size], order)
        damaged[at : at + size] = (pick_integer(rng, old) % (1 << 8 * size)).to_bytes(size, order)
    return bytes(damaged)


def _whole_array(rng: np.random.Generator) -> bytes:
    """Mostly one that fits."""
    return pick(rng, arrays()) if rng.integers(3) == 0 else arrays()[int(rng.integers(2))]


def _damaged_array(rng: np.random.Generator) -> bytes:
    content = _whole_array(rng)
    kind = rng.integers(4)
    if kind == 0:
        return damage_bytes(rng, content)
    if kind == 1:
        return damage_numbers(rng, content, 6, 12)
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode("latin-1").rstrip()
    if kind == 2:
        header = damage_text(rng, header)
    else:
        old = pick(rng, ("5", "4", "False", "<f4", "shape"))
        header = header.replace(old, str(pick(rng, (pick_integer(rng, 5), "True", "|O", ">f8", "", "-5", "5, 5"))))
    return content[:8] + len(header).to_bytes(2, "little") + header.encode("latin-1") + content[10 + length :]


def _file(rng: np.random.Generator) -> bytes:
    if rng.integers(2):
        return _damaged_array(rng)
    others = int(rng.integers(3)) if rng.integers(8) == 0 else 0
    members = {pick(rng, ("x.npy", "y.npy", "x", "../x.npy")): arrays()[0] for _ in range(others)}
    members["x.npy"] = _damaged_array(rng) if rng.integers(2) else _whole_array(rng)
    content = _archive(members, pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    kind = rng.integers(4)
    if kind == 0:
        return content
    if kind == 1:
        return damage_bytes(rng, content)
    directory = content.index(b"PK\1\2")
    return damage_numbers(rng, content, *((0, _HEADERS) if kind == 2 else (directory, len(content))))


@generator("array_files", prepare=arrays)
def array_files(rng: np.random.Generator) -> Case:
    content = _file(rng)
    calibrates = bool(rng.integers(2))

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.npz")
            with open(path, "wb") as file:
                file.write(content)
            if calibrates:
                for _ in open_calibration_set(path, _INPUTS, limit=3):
                    pass
            else:
                gather_inputs([TensorSpec("x", "f32", (5, 4))], [path], None)

    return Case(f"{'calibration' if calibrates else 'run'} with a file of {content!r}", run)
