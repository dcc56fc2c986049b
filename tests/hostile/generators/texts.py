"""Texts of every kind that is read, damaged, or with a piece of them again and again until they are long.

What takes time or memory by the square of a length, or many times the length, shows in a few hundred kilobytes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from tilewright.compiler.affinity import read_affinity
from tilewright.compiler.frontend.formats import read_module
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.compiler.quantization.encodings import read_encodings
from tilewright.ir.text.printer import print_module
from tilewright.passes.pipeline import Pipeline
from tilewright.runtime.api.classify.application import read_integers
from tilewright.runtime.api.classify.results import read_labels
from tilewright.runtime.files.sound_file import open_sound
from tilewright.runtime.files.table_file import read_table
from tilewright.runtime.machines import machine
from tilewright.runtime.pictures.image_file import read_image
from tilewright.runtime.pictures.preprocessing import Preprocessing
from tilewright.runtime.trust import public_keys

from ..corpus import models
from ..generator import Case, generator
from ..mutation import damage_bytes, damage_json, pick
from .ir_files import originals

LONGEST = 2**20
"""Bytes that a repeated piece takes at most."""

_OLD = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "min": -2.1, "max": 2.6, "offset": -114, "scale": 0.018}
_TYPED = {"name": "x", "enc_type": "LPBQ", "dtype": "INT", "bw": 8, "is_sym": True, "scale": [0.5], "offset": [-8]}
_BLOCKS = {"compressed_bw": 4, "per_block_int_scale": [1, 2], "block_size": 2}
_NEW = {"name": "y", "output_dtype": "int4", "axis": 0, "per_block_int_scale": [[1, 2]], "block_size": 2}
_ENCODINGS = (
    {"version": "0.6.1", "activation_encodings": {"x": [_OLD], "m": {"input": {"0": _OLD}}}, "param_encodings": {}},
    {"version": "1.0.0", "activation_encodings": [_TYPED], "param_encodings": [{**_TYPED, **_BLOCKS}]},
    {"version": "2.0.0", "encodings": [{**_NEW, "per_channel_float_scale": [[0.5]]}]},
)
_KEY = "ed25519:" + "A" * 43 + "= alice@example\n"

_WAV = b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\x10\0\0\0" + b"\0\1" * 8

Reader = Callable[[str], object]


@cache
def texts() -> tuple[tuple[str, Reader, tuple[bytes, ...]], ...]:
    """The suffix of each kind of file, what reads it, and sound ones."""
    module = print_module(read_module(_written("a.onnx", next(iter(models().values()))), {})).encode()
    samples = [(Path(machine.__file__).parent / f"{name}.json").read_bytes() for name in machine.samples()]
    return (
        (".affinity", read_affinity, (b'# a\nConv_0 = cpu # b\n"a = \\"b" = device\n', b'{"Conv_0": "cpu", "b": ""}')),
        (".encodings", read_encodings, tuple(json.dumps(each).encode() for each in _ENCODINGS)),
        (".json", machine.load, tuple(samples)),
        (".txt", lambda path: read_labels(path, 10), (b'a b.png 3\n"c ""d""" 9\r\n\n', b"\xef\xbb\xbfa 1\n")),
        (".csv", lambda path: read_integers(path, 4, "it"), (b"1,-2,\n3, 255,", b"1 2 3 4")),
        (".table", _table, (b'a,"b, c"\n1,2\r\n\n"3",255\n', b"\xef\xbb\xbf1,2.0\n3e1, 4")),
        (".ppm", lambda path: read_image(path, "RGB"), (b"P3 # a\n3 2 255\n" + b"1 2 3 " * 6, b"P2 3 2 7\n1 2 3 4")),
        (".wav", _sound, (_WAV, _WAV[:20] + b"\3" + _WAV[21:34] + b"\x20" + _WAV[35:])),
        (".pre", _preprocessing, (b'{"mean": [1, 2, 3], "scale": 0.5}', b"resize=central,mean=1/2/3,scale=1/58")),
        (".passes", _pipeline, (b'fold_constants,canonicalize{limit=10,a=[1,2.5e3,"b\\n"]},fuse',)),
        (".key", _key, (_KEY.encode(),)),
        (".tw", lambda path: read_module(Path(path), {}), (module,)),
        (".xml", read_document, tuple(text for text, _ in originals()[:40])),
    )  # fmt: skip


def _written(name: str, content: bytes) -> Path:
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    return path


def _text(path: str) -> str:
    return Path(path).read_bytes().decode(errors="replace")


def _preprocessing(path: str) -> object:
    return Preprocessing.of(_text(path))


def _sound(path: str) -> object:
    return [*open_sound(path, "x", (1, 4), np.dtype(np.float32)).blocks(1, 1)]


def _pipeline(path: str) -> object:
    return Pipeline.parse(_text(path))


def _key(path: str) -> object:
    return public_keys.parse(_text(path), "it")


def _changed(rng: np.random.Generator, content: bytes) -> bytes:
    kind = rng.integers(6)
    if kind == 0:
        return damage_bytes(rng, content)
    if kind == 1 and content.lstrip()[:1] in b"{[":
        return json.dumps(damage_json(rng, json.loads(content), int(rng.integers(1, 3)))).encode()
    start = int(rng.integers(len(content)))
    piece = content[start : start + int(rng.integers(1, 40))]
    times = int(2 ** rng.uniform(1, np.log2(LONGEST))) // len(piece)
    # Instead of what it was, too: so that what follows cannot be what is expected there.
    return content[:start] + piece * times + content[start + int(rng.integers(3)) * len(piece) // 2 :]


@generator("texts", prepare=texts)
def a_text(rng: np.random.Generator) -> Case:
    suffix, read, sound = pick(rng, texts())
    content = _changed(rng, pick(rng, sound))
    if rng.integers(4) == 0:
        content = damage_bytes(rng, content)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, f"a{suffix}")
            Path(path).write_bytes(content)
            read(path)

    return Case(f"{suffix} of {len(content)} bytes\n{content[:2000]!r}", run)


def _table(path: str) -> object:
    return read_table(path, {"x": ((2,), np.dtype(np.uint8))})
