"""Sounds of ``.wav`` files, which may come from strangers, as samples of networks that take waveforms.

Integers of 8 to 32 bits become numbers from -1 to 1, as other readers make them; floating point stays as it is. A file
is cut into pieces as long as the network takes; one that is shorter is filled up with silence. Several channels become
their mean where the network takes one.
"""

import math
import os
import struct
from collections.abc import Iterator

import numpy as np

from tilewright import limits
from tilewright.errors import InputError

from .array_file import StoredArray
from .input_file import contents

SOUND = ".wav"
"""What the name of such a file ends in."""

_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE
_TYPES = {(_INTEGERS, 16): "<i2", (_INTEGERS, 32): "<i4", (_FLOATS, 32): "<f4", (_FLOATS, 64): "<f8"}
_CHUNKS = 1000
"""Parts of a file, of which one holds the samples."""
_CHANNELS = 2
"""Of the inputs that take several."""


class StoredSound(StoredArray):
    """The pieces of a sound, [pieces, ...]; each is a sample of its input, without the dimension of the batch.
    ``rate``: samples a second."""

    rate: int

    def read(self) -> np.ndarray:
        """All pieces. Raises InputError: the file is no longer what it was."""
        numbers, rate = _numbers(self.path)
        found = _pieces(numbers, self.shape[1:], self.dtype)
        if found.shape != self.shape or rate != self.rate:
            raise InputError(f"{self} changed while it was read")
        return found

    def blocks(self, rows: int, count: int, first: int = 0) -> Iterator[np.ndarray]:
        found = self.read()
        yield from (found[index * rows : (index + 1) * rows] for index in range(first, first + count))


def open_sound(path: str | os.PathLike[str], name: str, shape: tuple[int, ...], dtype: np.dtype) -> StoredSound:
    """The sound of a file as samples of an input.
    ``name``, ``shape``, ``dtype``: of the input. It takes a waveform if all extents are 1 but that of the samples, and
    one of channels, which is 2, before or behind it; the first of several dimensions is that of the batch.
    Raises InputError: the file cannot be read, is no sound, or the input takes none; ResourceError: the file is too
    large."""
    path, sample = os.fspath(path), shape[1:] or shape
    solid = [extent for extent in sample if extent != 1]
    if not 0 < len(solid) - (len(solid) == 2 and _CHANNELS in solid) < 2 or 0 in solid or dtype.kind != "f":
        hint = "Give what the network takes, such as features of sounds, as .npy."
        expected, found = "an input [1, SAMPLES] in floating point", f"{dtype}{list(shape)}"
        raise InputError(
            f"input {name!r} takes no waveform, as {path!r} is one", expected=expected, found=found, hint=hint
        )
    numbers, rate = _numbers(path)
    return StoredSound(path, None, dtype, _pieces(numbers, sample, dtype).shape, is_fortran=False, rate=rate)


def _pieces(numbers: np.ndarray, sample: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Pieces of these extents of [samples, channels]."""
    solid = [extent for extent in sample if extent != 1]
    channels = 1 if len(solid) == 1 else _CHANNELS
    if numbers.shape[1] != channels:
        numbers = np.broadcast_to(numbers.mean(1, keepdims=True, dtype=np.float64), (len(numbers), channels))
    length = math.prod(solid) // channels
    count = max(1, len(numbers) // length)
    whole = np.zeros((count * length, channels), dtype)
    whole[: len(numbers)] = numbers[: len(whole)]
    found = whole.reshape(count, length, channels)
    return (found if solid[-1] == channels else found.swapaxes(1, 2)).reshape(count, *sample)


def _numbers(path: str) -> tuple[np.ndarray, int]:
    """The samples of a file, [samples, channels], and how many a second has."""
    content = contents(path, limits.SOUND_FILE)
    format, data = _chunks(path, content)
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", format[:16])
    if kind == _EXTENSIBLE and len(format) >= 26:
        (kind,) = struct.unpack_from("<H", format, 24)
    whole = len(data) - len(data) % max(1, channels * bits // 8)
    if (kind, bits) in _TYPES:
        numbers = np.frombuffer(data[:whole], _TYPES[kind, bits])
    elif kind == _INTEGERS and bits in (8, 24):
        # Those of 8 bits have no sign; of 32 these are the upper ones.
        parts = np.frombuffer(data[:whole], np.uint8)
        numbers = np.zeros((len(parts) * 8 // bits, 4), np.uint8)
        numbers[:, -bits // 8 :] = (parts ^ 128 if bits == 8 else parts).reshape(-1, bits // 8)
        numbers = numbers.view("<i4")
    else:
        hint = "Save it so, as by `ffmpeg -i FILE -c:a pcm_s16le NEW.wav`."
        expected = "integers of 8, 16, 24 or 32 bits, or floating point"
        found = f"format {kind} of {bits} bits"
        raise InputError(f"the sound {path!r} is compressed or unknown", expected=expected, found=found, hint=hint)
    if not channels or not numbers.size:
        raise InputError(f"the sound {path!r} is empty", found=f"{channels} channels, {len(data)} bytes")
    if numbers.dtype.kind == "i":
        numbers = numbers.astype(np.float32) * np.float32(2.0 ** (1 - 8 * numbers.itemsize))
    return numbers.reshape(-1, channels), rate


def _chunks(path: str, content: bytes) -> tuple[bytes, memoryview]:
    """The description of the samples, and these."""
    at, format = 12, b""
    is_riff = content[:4] == b"RIFF" and content[8:12] == b"WAVE"
    for _ in range(_CHUNKS if is_riff else 0):
        if at + 8 > len(content):
            break
        tag, size = struct.unpack_from("<4sI", content, at)
        if tag == b"fmt ":
            format = content[at + 8 : at + 8 + size]
        elif tag == b"data" and len(format) >= 16:
            return format, memoryview(content)[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    what = "is damaged, or ends early" if is_riff else "is no .wav file, whatever its name is"
    raise InputError(f"the sound {path!r} {what}", hint="Save it again as .wav.")
