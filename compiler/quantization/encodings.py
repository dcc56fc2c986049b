"""Reading ``.encodings`` files: how the tensors of a network are quantised, in every form that AIMET has written.

The forms are told apart by what is in the file, for ``version`` is absent from old ones:

- 0.4 to 0.6.2: ``activation_encodings`` and ``param_encodings`` map names of tensors to lists of entries, one for each
  channel, of ``bitwidth``, ``scale``, ``offset``, ``min``, ``max``, ``is_symmetric``, and ``dtype`` since 0.5. Files of
  the Exynos tools add ``modules``, which says nothing about numbers.
- the same as PyTorch's side of AIMET writes it: activations by module, ``input`` or ``output``, and index.
- 1.0.0: the sections are lists of entries of ``name``, ``enc_type``, ``dtype``, ``bw``, ``is_sym``, ``scale`` and
  ``offset``, and for blocks ``block_size``, ``compressed_bw`` and ``per_block_int_scale``.
- 2.0.0: one list, ``encodings``, of ``name``, ``output_dtype``, ``y_scale``, ``y_zero_point``, ``axis`` and
  ``block_size``.

A quantised tensor has q = clamp(round(x / scale) - offset, 0, 2^bits - 1) and stands for scale * (q + offset), so that
``offset`` is the lowest integer of the grid, whatever a file calls it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import NoReturn, Union

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, resources
from tilewright.immutable import Immutable

from ...runtime.artifact.json_dataclasses import Source, parse, shortened
from ...runtime.files.input_file import contents

SUFFIX = "_updated"
"""What AIMET adds to the name of a tensor that one of its quantisers has passed on."""

BITS = (4, 32)
"""The least and the largest width of integers."""

_LARGEST_OFFSET = 2**33
_LARGEST_FLOAT = 2.0**128 - 2.0**104


class ModuleTensor(Immutable):
    """A tensor as PyTorch's modules name it.
    ``module``: the path of the module, such as ``layer1.0.conv1``.
    ``side``: ``input`` or ``output``.
    ``index``: which one of several."""

    module: str
    side: str
    index: int

    def __str__(self) -> str:
        return f"{self.module} ({self.side} {self.index})"


TensorName = Union[str, ModuleTensor]


class Encoding(Immutable):
    """How one tensor is quantised.

    Attributes:
        bits: of the integers; of a tensor that stays in floating point those of its floats.
        scale: float64, positive; ``None`` for floating point. One number; or one for each channel; or, for blocks, what
            ``is_flat`` says.
        offset: int64, of the shape of ``scale``: the lowest integer of the grid.
        axis: the dimension of the channels or, with ``block_size``, of the blocks; ``None`` where it follows from the
            operator that reads the tensor.
        block_size: elements of a block, ``None`` where there are no blocks.
        is_flat: scales of blocks stand one behind the other, those of a channel together, and otherwise in an array of
            as many dimensions as the tensor has.
    """

    bits: int
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    axis: int | None = None
    block_size: int | None = None
    is_flat: bool = True


class Encodings(Immutable):
    """What a file says.
    ``origin``: what messages call the file.
    ``activations``: by tensor.
    ``parameters``: by tensor; files of version 2 do not tell them from activations, and have them there."""

    origin: str
    activations: Mapping[TensorName, Encoding] = field(default_factory=dict)
    parameters: Mapping[TensorName, Encoding] = field(default_factory=dict)


def read_encodings(path: str | os.PathLike[str]) -> Encodings:
    """Read a file; one that is empty says nothing, and so does one of empty sections.
    Raises InputError: the file cannot be read, is too large, or is none; names file, tensor and field."""
    name = os.fspath(path)
    what = f"encodings file {name!r}"
    return parse_encodings(contents(name, limits.ENCODINGS, what), what)


@resources("read encodings")
def parse_encodings(text: bytes | str, origin: str = "encodings") -> Encodings:
    """As :func:`read_encodings`, from the contents of the file.
    ``origin``: what to call them in messages.
    Raises InputError: as for `read_encodings`; ResourceError: this machine has not enough memory for what they say."""
    source = Source(origin, InputError)
    if not text.strip():
        return Encodings(origin)
    content = parse(text, source, parse_constant=float)
    if not isinstance(content, dict):
        source.refuse("", "is no JSON object", found=shortened(content))
    version = content.get("version")
    if version is not None and (not isinstance(version, str) or version.split(".")[0] not in ("0", "1", "2")):
        hint = "Export the encodings as version 0.6.1, 1.0.0 or 2.0.0."
        source.refuse("version", "is not known", "0.4 to 2.0.0", shortened(version), hint)
    if "encodings" in content:
        return Encodings(origin, dict(_listed(source, content, "encodings", _versatile_entry)))
    found = [dict(_section(source, content, name)) for name in ("activation_encodings", "param_encodings")]
    return Encodings(origin, *found)


def _section(source: Source, content: dict[str, object], name: str) -> Iterator[tuple[TensorName, Encoding]]:
    section = content.get(name)
    if isinstance(section, dict) and len(section) > limits.ENCODED:
        source.refuse(name, "is too long", f"at most {limits.ENCODED} {limits.ENCODED.what}", len(section))
    if isinstance(section, list):
        yield from _listed(source, content, name, _typed_entry)
    elif isinstance(section, dict):
        for tensor, value in section.items():
            if isinstance(value, dict) and not value.keys().isdisjoint(("input", "output")):
                yield from _of_module(source, f"{name}.{tensor}", tensor, value)
            else:
                yield tensor, _entry_of_channels(_Fields.all(source, f"{name}.{tensor}", value))
    elif section is not None:
        source.refuse(name, "is neither an object nor a list", found=shortened(section))


def _of_module(
    source: Source, path: str, module: str, sides: dict[str, object]
) -> Iterator[tuple[TensorName, Encoding]]:
    for side, tensors in sides.items():
        if side not in ("input", "output"):
            source.refuse(f"{path}.{side}", "is unknown", "input or output")
        if not isinstance(tensors, dict):
            source.refuse(f"{path}.{side}", "is no object of indices", found=shortened(tensors))
        for index, value in tensors.items():
            if not (index.isascii() and index.isdigit() and len(index) < 6):
                source.refuse(f"{path}.{side}", "has a name that is no index", found=shortened(index))
            where = f"{path}.{side}.{index}"
            yield ModuleTensor(module, side, int(index)), _entry_of_channels(_Fields.all(source, where, value))


def _listed(
    source: Source, content: dict[str, object], name: str, entry: "Callable[[_Fields], Encoding]"
) -> Iterator[tuple[TensorName, Encoding]]:
    section = content[name]
    if not isinstance(section, list):
        source.refuse(name, "is no list", found=shortened(section))
    if len(section) > limits.ENCODED:
        source.refuse(name, "is too long", f"at most {limits.ENCODED} {limits.ENCODED.what}", len(section))
    seen: set[str] = set()
    for index, value in enumerate(section):
        tensor = value.get("name") if isinstance(value, dict) else None
        if not isinstance(tensor, str):
            source.refuse(f"{name}[{index}].name", "is no text", found=shortened(tensor))
        if tensor in seen:
            source.refuse(f"{name}[{index}].name", "is given twice", found=shortened(tensor))
        seen.add(tensor)
        yield tensor, entry(_Fields(source, f"{name}.{tensor}", value))


class _Fields:
    """The fields of one entry, of which those that are asked for are checked."""

    def __init__(self, source: Source, path: str, values: object) -> None:
        if not isinstance(values, dict):
            source.refuse(path, "is no object", found=shortened(values))
        self._source, self.path, self._values = source, path, values

    @staticmethod
    def all(source: Source, path: str, value: object) -> "list[_Fields]":
        """The entries of a list of at least one, or the only one."""
        values = value if isinstance(value, list) else [value]
        if not values:
            source.refuse(path, "is an empty list", "an entry for the tensor, or for each channel")
        return [_Fields(source, path, each) for each in values]

    def refuse(self, name: str, what: str, expected: object = None) -> NoReturn:
        found = shortened(self._values[name]) if name in self._values else "no such field"
        self._source.refuse(f"{self.path}.{name}", what, expected, found)

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str, *choices: str) -> str:
        """One of some texts, in any case."""
        value = self._values.get(name)
        if not isinstance(value, str) or value.lower() not in choices:
            self.refuse(name, "is unknown", " or ".join(choices))
        return value.lower()

    def truth(self, name: str) -> bool:
        """A truth value, absent or as text in any case as well."""
        value = str(self._values.get(name, False)).lower()
        if value not in ("true", "false"):
            self.refuse(name, "is no truth value", "true, false, or either as text")
        return value == "true"

    def whole(self, name: str, low: int, high: int) -> int:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or value % 1:
            self.refuse(name, "is out of range", f"a whole number, {low} to {high}")
        return int(value)

    def number(self, name: str) -> float:
        """A finite number. There may be a million of them, and arrays take ten times as long as this."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 2**63:
            return self.numbers(name, 0).item()
        return float(value)

    def scale(self, name: str) -> float:
        """A number as `scales` takes it."""
        value = self.number(name)
        return value if 2**-149 <= value <= _LARGEST_FLOAT else self.scales(name, 0).item()

    def offset(self, name: str) -> int:
        """A number as `offsets` takes it."""
        value = self.number(name)
        return int(value if abs(value) <= _LARGEST_OFFSET and not value % 1 else self.offsets(name, ()).item())

    def numbers(self, name: str, rank: int | None = 1) -> np.ndarray:
        """Finite numbers, float64, in so many lists within each other, or any number of them."""
        try:
            array = np.asarray(self._values.get(name))
        except ValueError:  # lists of different lengths
            array = np.asarray(None)
        if array.dtype.kind not in "iuf" or (rank is not None and array.ndim != rank) or array.ndim > limits.RANK:
            kinds = {0: "a number", 1: "a list of numbers", None: "numbers, in lists of equal lengths"}
            self.refuse(name, "has the wrong type", kinds[rank])
        found = array.astype(np.float64)
        if not np.isfinite(found).all():
            self.refuse(name, "is not finite", "finite numbers")
        return found

    def scales(self, name: str, rank: int | None = 1) -> np.ndarray:
        """Numbers that are positive and finite in single precision."""
        found = self.numbers(name, rank)
        with np.errstate(over="ignore"):
            used = found.astype(np.float32)
        if not found.size or not (np.isfinite(used) & (used > 0)).all():
            self.refuse(name, "is no scale", "numbers, positive and finite in single precision")
        return found

    def offsets(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Whole numbers, int64, as many as there are scales."""
        found = self.numbers(name, None)
        if found.shape != shape:
            self.refuse(name, "is of another shape than the scales", list(shape))
        if (found % 1).any() or (np.abs(found) > _LARGEST_OFFSET).any():
            self.refuse(name, "is out of range", f"whole numbers, at most {_LARGEST_OFFSET}")
        return found.astype(np.int64)


def _float_bits(entry: _Fields, name: str) -> int:
    """Floats round as half precision, or not at all."""
    bits = entry.whole(name, 1, 64)
    if bits not in (16, 32):
        entry.refuse(name, "is not supported for floating point", "16 or 32")
    return bits


def _entry_of_channels(entries: list[_Fields]) -> Encoding:
    """Versions 0.4 to 0.6.2: an entry for the tensor, or for each channel."""
    first = entries[0]
    kinds = {entry.text("dtype", "int", "float") if entry.has("dtype") else "int" for entry in entries}
    widths = {entry.whole("bitwidth", 1, 64) for entry in entries}
    if len(kinds) > 1 or len(widths) > 1:
        first.refuse("dtype" if len(kinds) > 1 else "bitwidth", "is not the same for all channels")
    if kinds == {"float"}:
        return Encoding(_float_bits(first, "bitwidth"))
    bits = first.whole("bitwidth", *BITS)
    pairs = [_scale_and_offset(entry, bits) for entry in entries]
    shape = (len(pairs),) if len(pairs) > 1 else ()
    scale = np.array([scale for scale, _ in pairs]).reshape(shape)
    return Encoding(bits, scale, np.array([offset for _, offset in pairs], np.int64).reshape(shape))


def _scale_and_offset(entry: _Fields, bits: int) -> tuple[float, int]:
    """By ``scale`` and ``offset``, or as they follow from ``min`` and ``max``.

    Oldest files have an offset of the other sign, or none; ``min`` then says where the grid begins."""
    is_symmetric = entry.truth("is_symmetric")
    low = entry.number("min") if entry.has("min") else None
    if not entry.has("scale") and low is not None and entry.has("max"):
        step = (entry.number("max") - low) / (2**bits - 1)
        if not 0 < np.float32(step) < np.inf:
            entry.refuse("max", "is not above min")
    else:
        step = entry.scale("scale")
    offset = entry.offset("offset") if entry.has("offset") else None
    if low is not None and (offset is None or offset >= 0):
        if abs(low) > _LARGEST_OFFSET * step:
            entry.refuse("min", "is too far from 0 for the scale")
        return step, round(low / step)
    if offset is None:
        if not is_symmetric:
            entry.refuse("offset", "is missing")
        return step, -(2 ** (bits - 1))
    return step, offset


def _typed_entry(entry: _Fields) -> Encoding:
    """Version 1."""
    if entry.text("dtype", "int", "float") == "float":
        return Encoding(_float_bits(entry, "bw"))
    entry.truth("is_sym")
    kinds = ("per_tensor", "per_channel", "per_block", "lpbq")
    kind = entry.text("enc_type", *kinds) if entry.has("enc_type") else None
    scale = entry.scales("scale")
    offset = entry.offsets("offset", scale.shape)
    if kind == "per_tensor" and scale.size != 1:
        entry.refuse("scale", "is not one number, as enc_type says")
    if entry.has("zero_point_shift"):
        entry.refuse("zero_point_shift", "is not supported")
    if kind == "per_block":
        size = entry.whole("block_size", 1, limits.EXTENT)
        return Encoding(entry.whole("bw", *BITS), scale, offset, block_size=size)
    if kind == "lpbq":
        # Scales of blocks are multiples of that of the channel; the weights keep the narrower width.
        bits = entry.whole("compressed_bw", *BITS)
        factors = entry.scales("per_block_int_scale")
        if factors.size % scale.size:
            entry.refuse("per_block_int_scale", "is not the same number for each channel", f"{scale.size} channels")
        scale = (scale[:, None] * factors.reshape(scale.size, -1)).reshape(-1)
        lowest = np.full(scale.shape, -(2 ** (bits - 1)), np.int64)
        return Encoding(bits, scale, lowest, block_size=entry.whole("block_size", 1, limits.EXTENT))
    bits = entry.whole("bw", *BITS)
    shape = () if kind == "per_tensor" or (kind is None and scale.size == 1) else scale.shape
    return Encoding(bits, scale.reshape(shape), offset.reshape(shape))


_INTEGERS = {f"{sign}int{bits}": (sign, bits) for sign in ("", "u") for bits in range(BITS[0], BITS[1] + 1)}


def _versatile_entry(entry: _Fields) -> Encoding:
    """Version 2, which is ONNX's QuantizeLinear: round(x / y_scale) + y_zero_point, within ``output_dtype``."""
    sign, bits = _INTEGERS[entry.text("output_dtype", *_INTEGERS)]
    lowest = 0 if sign else -(2 ** (bits - 1))
    axis = entry.whole("axis", -limits.RANK, limits.RANK) if entry.has("axis") else None
    size = entry.whole("block_size", 1, limits.EXTENT) if entry.has("block_size") else None
    if entry.has("per_block_int_scale"):
        channels, blocks = entry.scales("per_channel_float_scale", None), entry.scales("per_block_int_scale", None)
        try:
            fits = np.broadcast_shapes(channels.shape, blocks.shape) == blocks.shape
        except ValueError:
            fits = False
        if not fits:
            entry.refuse("per_block_int_scale", "does not fit per_channel_float_scale")
        scale = channels * blocks
    else:
        scale = entry.scales("y_scale", None)
    zero = entry.offsets("y_zero_point", scale.shape) if entry.has("y_zero_point") else np.zeros(scale.shape, np.int64)
    if size is not None and axis is None:
        entry.refuse("axis", "is missing, along which the blocks lie")
    if size is None and (scale.ndim > 1 or (scale.ndim == 1 and axis is None and scale.size > 1)):
        entry.refuse("y_scale", "is neither one number nor one for each index along the axis")
    if size is None and (scale.size == 1 and axis is None):
        scale, zero = scale.reshape(()), zero.reshape(())
    return Encoding(bits, scale, lowest - zero, axis, size, is_flat=False)
