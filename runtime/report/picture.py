"""Outputs of networks as pictures: colours and greys as they are, of maps of classes a colour for each."""

from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

import numpy as np

from tilewright.errors import InputError

from ..artifact.manifest import TensorSpec
from ..compiler import NotInstalledError
from .classes import image_size, rows_of

_UNITS = (("0-1", -0.5, 2.0, 0.0, 255.0), ("-1-1", -2.0, 2.0, 127.5, 127.5), ("0-255", -128.0, 512.0, 0.0, 1.0))
"""Of each units what numbers in them hardly exceed, the pixel that 0 is, and how many pixels one step has."""

_FEW = 100.0
"""What some pixel exceeds where they are numbers up to 255, rather than distances and the like."""


def write_picture(file: BinaryIO, results: Mapping[str, np.ndarray], inputs: Collection[Sequence[int]]) -> str:
    """Write the first output that is a picture as PNG: one or three channels, or four of a network that takes as many,
    of numbers whose units their range tells; or the best class of each pixel, in a palette, as masks for
    `tilewright quantize` are.
    ``inputs``: shapes of what the network takes.
    Returns what the picture shows, in words.
    Raises InputError: no output is a picture; NotInstalledError: Pillow is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise NotInstalledError("writing pictures", "PIL") from None
    name, found, is_map = _first(results, inputs)
    if is_map:
        picture = Image.fromarray(found, "P")
        picture.putpalette(_palette())
        shown = "the best class of each pixel, a colour for each, of output {!r}"
    else:
        eight_bits, shown = _eight_bits(found)
        picture = Image.fromarray(eight_bits.squeeze(2) if eight_bits.shape[2] == 1 else eight_bits)
    picture.save(file, "PNG")
    return f"shows {shown.format(name)}"


def check_picture(outputs: Collection[TensorSpec], inputs: Collection[Sequence[int]]) -> None:
    """Find out before a run whether an output may be a picture; arguments and errors as for `write_picture`."""
    if not any(each.counts for each in outputs):
        _first({each.name: np.broadcast_to(np.zeros((), each.numpy), each.shape) for each in outputs}, inputs)


def _first(results: Mapping[str, np.ndarray], inputs: Collection[Sequence[int]]) -> tuple[str, np.ndarray, bool]:
    """Name and pixels of the first picture, [H, W, channels], or map of classes, [H, W], and whether it is a map."""
    image = image_size(inputs)
    has_alpha = any(len(shape) == 4 and 4 in shape[1::2] for shape in inputs)
    for name, array in results.items():
        colours = {1, 3, 4} if has_alpha and _is_opacity(array) else {1, 3}
        if (classes := _classes(array, image, colours)) is not None:
            return name, classes, True
        if (pixels := _pixels(array, colours)) is not None:
            return name, pixels, False
    found = ", ".join(f"{name}[{','.join(map(str, array.shape))}]" for name, array in results.items())
    expected = "[1, 1, H, W], [1, 3, H, W], channels last, [1, H, W] or [1, CLASSES, H, W], of 256 classes at most"
    raise InputError("no output is a picture", expected=expected, found=found, hint="Save it as .npz.")


def _is_opacity(array: np.ndarray) -> bool:
    """Whether a fourth channel may be one of opacity: not in scores, which are below zero, nor in shares of a whole."""
    return bool(array.size and array.min() >= _UNITS[0][1] and abs(array.mean(dtype=np.float64) - 1 / 4) > 1e-3)


def _classes(array: np.ndarray, image: tuple[int, int], colours: set[int]) -> np.ndarray | None:
    """The class of each pixel, uint8[H, W], where that is what a map tells."""
    shape = array.shape
    if len(shape) not in (3, 4) or shape[0] != 1 or min(shape[-2:]) < 1 or not array.size:
        return None
    is_number = array.dtype.kind in "iu" and (len(shape) == 3 or 1 in shape[1::2])
    if is_number and (array.dtype.itemsize > 1 or array.max() <= _FEW):
        found = array.reshape(shape[1:] if len(shape) == 3 else shape[2:] if shape[1] == 1 else shape[1:3])
    elif len(shape) == 4 and not colours & {*shape[1::2]} and array.dtype.kind in "fiu":
        before, *_ = rows_of(shape, image)
        found = array[0].argmax(0) if before == 1 else array[0].argmax(2)
    else:
        return None
    return found.astype(np.uint8) if min(found.shape) > 1 and found.min() >= 0 and found.max() < 256 else None


def _pixels(array: np.ndarray, colours: set[int]) -> np.ndarray | None:
    """A picture [H, W, channels]."""
    shape = array.shape
    if array.dtype.kind not in "fiub" or len(shape) not in (3, 4) or shape[0] != 1 or not array.size:
        return None
    if len(shape) == 3:
        found = array[0, :, :, None]
    elif shape[1] in colours:
        found = array[0].transpose(1, 2, 0)
    else:
        found = array[0]
    return found if found.shape[2] in colours and min(found.shape[:2]) > 1 else None


def _eight_bits(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    if pixels.dtype == np.uint8:
        return pixels, "output {!r} as it is"
    numbers = pixels.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    numbers = np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
    # Integers exceed nothing by a little: these are quantised, or depths.
    is_other = pixels.dtype.kind != "f" and (low < 0 or high > 255)
    units = [each for each in _UNITS if not is_other and each[1] <= low and high <= each[2]]
    if units and (units[0][0] != "0-255" or high > _FEW):
        what, _, _, zero, step = units[0]
        shown = f"output {{!r}}, taken to be in units {what}"
    else:
        shown, step = f"output {{!r}}, black at {low:.6g} and white at {high:.6g}", 255 / (high - low or 1)
        zero = -low * step
    return np.clip(np.rint(numbers * step + zero), 0, 255).astype(np.uint8), shown


def _palette() -> list[int]:
    """256 colours as PASCAL VOC has them: the lowest bits of a class are the upper ones of its channels."""
    return [
        sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
        for number in range(256)
        for channel in range(3)
    ]
