"""How users say what becomes of images: presets, units and standard deviations in place of plain fields, in words."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, cast

from tilewright.errors import UsageError

from ..artifact.json_dataclasses import Source, parse

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
"""How names of image files end."""

_IMAGENET: Mapping[str, object] = {"units": "0-1", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PRESETS: Mapping[str, Mapping[str, object]] = {
    "imagenet": {"resize": "shorter", "fraction": 0.875, "interpolation": "bilinear", "colour": "rgb", **_IMAGENET},
    "tf": {"resize": "central", "fraction": 0.875, "interpolation": "bilinear", "colour": "rgb", "units": "-1-1"},
    "caffe": {
        "resize": "shorter",
        "fraction": 0.875,
        "colour": "bgr",
        "mean": (103.939, 116.779, 123.68),
        "scale": 1.0,
    },
    "yolo": {"resize": "letterbox", "fill": 114, "interpolation": "bilinear", "colour": "rgb", "units": "0-1"},
}
"""What networks of a family take, as the code that they were trained with has it: torchvision's reference evaluation,
that of TensorFlow's slim models, Caffe's mean of ImageNet, and the letterbox of Ultralytics' YOLO."""

_UNITS: Mapping[str, tuple[float, float]] = {"0-255": (0.0, 1.0), "0-1": (0.0, 255.0), "-1-1": (127.5, 127.5)}
"""By name of a unit: the pixel that is 0 in it, and how many pixels one step of it has."""

DEFAULT = "default"


class Refusal(Exception):
    """A field has a value that it cannot have; the text says what it takes."""


def wrong(name: str, expected: str, found: object) -> UsageError:
    """The error about a field."""
    shown = "/".join(map(str, found)) if isinstance(found, tuple) else found
    return UsageError(f"wrong preprocessing: {name}", expected=expected, found=shown)


def one_of(*choices: str, **others: str) -> Callable[[object], object]:
    """What reads one of some words, and others that mean the same as one of them."""

    def read(value: object) -> object:
        if not isinstance(value, str) or others.get(value, value) not in choices:
            *first, last = map(repr, choices)
            raise Refusal(f"{', '.join(first)} or {last}")
        return others.get(value, value)

    return read


def number(value: object) -> float:
    """A finite number."""
    try:
        found = float(value) if isinstance(value, (str, Real)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        found = None
    if found is None:
        raise Refusal("a valid number")
    if not math.isfinite(found):
        raise Refusal("a finite number")
    return found


def between(low: float, high: float) -> Callable[[object], float]:
    """What reads a number of a range."""

    def read(value: object) -> float:
        found = number(value)
        if found < low:
            raise Refusal(f"greater than or equal to {low:g}")
        if found > high:
            raise Refusal(f"less than or equal to {high:g}")
        return found

    return read


def each(value: object) -> tuple[float, ...]:
    """Numbers that are neither infinite in binary32, in which pixels are computed with, nor vanish there."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    numbers = tuple(map(number, values))
    if not numbers:
        raise Refusal("at least 1 number")
    if any(number and not 1e-30 < abs(number) < 1e30 for number in numbers):
        raise Refusal("numbers between 1e-30 and 1e30")
    return numbers


def each_but_zero(value: object) -> tuple[float, ...]:
    """Such numbers, without 0."""
    numbers = each(value)
    if 0 in numbers:
        raise Refusal("numbers other than 0")
    return numbers


def plain_fields(source: Mapping[Any, object] | str) -> dict[str, Any]:
    """What is given as fields of `Preprocessing` alone: presets filled in, units and deviations as mean and scale.
    Raises UsageError: names the key and what it takes."""
    given: dict[str, Any] = dict(source) if isinstance(source, Mapping) else fields_of(source)
    if "color" in given:
        given.setdefault("colour", given.pop("color"))
    preset = given.pop("preset", None)
    if preset is not None:
        known = PRESETS.get(preset) if isinstance(preset, str) else None
        if known is None:
            raise wrong("preset", ", ".join(PRESETS), preset)
        # Numbers in other units than the preset's are no change of it.
        numbers = {"units", "mean", "scale", "std"}
        kept = known if numbers.isdisjoint(given) else {key: known[key] for key in known if key not in numbers}
        given = {**kept, **given}
    units, deviations = given.pop("units", None), given.pop("std", None)
    if deviations is not None and "scale" in given:
        raise wrong("std", "std or scale", "both")
    if units is not None and (not isinstance(units, str) or units not in _UNITS):
        raise wrong("units", ", ".join(_UNITS), units)
    if deviations is not None:
        given["scale"] = tuple(1 / value for value in _read("std", each_but_zero, deviations))
    if units is not None:
        zero, step = _UNITS[units]
        means, scales = (
            _read("mean", each, given.get("mean", 0.0)),
            _read("scale", each_but_zero, given.get("scale", 1.0)),
        )
        given["mean"] = tuple(zero + step * mean for mean in means)
        given["scale"] = tuple(scale / step for scale in scales)
    return given


def _read(name: str, read: Callable[[object], tuple[float, ...]], value: object) -> tuple[float, ...]:
    try:
        return read(value)
    except Refusal as refusal:
        raise wrong(name, str(refusal), value) from None


def origin_of(source: Mapping[Any, object] | str | None) -> str:
    """Where preprocessing comes from: ``default``, ``given``, or ``preset NAME`` with what was changed of it."""
    given = dict(source) if isinstance(source, Mapping) else fields_of(source or "")
    preset = given.pop("preset", None)
    changed = f" with other {', '.join(map(str, given))}" if given else ""
    return f"preset {preset}{changed}" if preset is not None else "given" if given else DEFAULT


def fields_of(text: str) -> dict[str, object]:
    """The fields that a text gives: a JSON object, or pairs with commas between them, of which one may be a preset.
    Raises UsageError: it is neither."""
    if text.lstrip().startswith("{"):
        return cast("dict[str, object]", parse(text, Source("the preprocessing", UsageError)))
    found: dict[str, object] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals and key in PRESETS:
            key, value = "preset", key
        elif not equals:
            raise UsageError(
                "preprocessing is given as key=value pairs", expected=f"KEY=VALUE or {', '.join(PRESETS)}", found=pair
            )
        if key in found:
            raise UsageError(f"preprocessing gives {key} twice", found=text)
        found[key] = _numbers(value) if key in ("mean", "scale", "std") else value
    return found


def _numbers(text: str) -> tuple[object, ...]:
    parts = text.split("/")
    try:
        return (float(parts[0]) / float(parts[1]),) if len(parts) == 2 else tuple(parts)
    except (ValueError, ZeroDivisionError):
        return tuple(parts)
