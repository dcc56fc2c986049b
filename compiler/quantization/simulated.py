"""Float networks whose tensors are rounded as an ``.encodings`` file says: simulated quantisation.

Parameters are rounded once, when the network is compiled; inputs of the network and outputs of its operators each time.
It happens while importing, where every tensor of the model still has its name, so no simplification takes a tensor away
or crosses one that is rounded.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tilewright
from tilewright.errors import EncodingsWarning, InputError, UsageError, first_of, resources, similar, warn

from ...codegen.cpu.llvm.target import TargetDescription
from ...codegen.package import Package, add_engine
from ...ir.core import Constant, Module, Value
from ...ir.ops.quantization import FakeQuantize
from ...ir.ops.shape import Cast
from ...ir.types import DType
from ...runtime.artifact.artifact import Artifact
from ..debug_outputs import kept_names
from ..frontend.onnx.importer import Importer
from ..frontend.onnx.reader import import_onnx, load_model, stated_images
from ..frontend.onnx.tensor_roles import Channels, Declaration, TensorRoles, add_outputs, tensor_roles
from ..options import CompileOptions
from ..pipeline import observers, run_passes, simulation_pipeline
from .encodings import SUFFIX, Encoding, Encodings, ModuleTensor, TensorName


class Grid(NamedTuple):
    """Broadcasts to the shape of the tensor.
    ``scale``: float64.
    ``offset``: int64, the lowest integer."""

    scale: np.ndarray
    offset: np.ndarray


def grid_of(encoding: Encoding, shape: tuple[int, ...], channels: Channels | None) -> Grid | None:
    """The grid of an encoding for a tensor of this shape; ``None`` if it stays in floating point.
    ``channels``: the dimensions of weights, as the operator that reads them has them.
    Raises InputError: the encoding does not fit the tensor."""
    if encoding.scale is None or encoding.offset is None:
        return None
    grid = Grid(encoding.scale, encoding.offset)
    if encoding.block_size is not None:
        return _of_blocks(grid, encoding, encoding.block_size, shape, channels)
    if grid.scale.ndim == 0:
        return grid
    axis = encoding.axis if encoding.axis is not None else _channel_axis(shape, grid.scale.size, channels)
    if axis is None:
        found = f"{grid.scale.size} scales for {list(shape)}"
        raise InputError("its scales are along no dimension of the tensor", found=found)
    axis = _from_front(axis, shape)
    if shape[axis] != grid.scale.size:
        found = f"{grid.scale.size} scales"
        raise InputError(
            f"there are more or fewer scales than channels, axis {axis}", expected=shape[axis], found=found
        )
    return _arranged(grid, {axis: grid.scale.size}, len(shape))


def _channel_axis(shape: tuple[int, ...], count: int, channels: Channels | None) -> int | None:
    """The dimension that scales of channels run along, where the file does not say so: that of the output channels of
    weights; else the second, which is that of channels in activations; else the only one of that extent."""
    if channels is not None:
        return channels.axis
    if len(shape) > 1 and shape[1] == count:
        return 1
    fitting = [axis for axis, extent in enumerate(shape) if extent == count]
    return fitting[0] if len(fitting) == 1 else None


def _of_blocks(grid: Grid, encoding: Encoding, size: int, shape: tuple[int, ...], channels: Channels | None) -> Grid:
    """Files list the scales of a channel together, whatever the order of the dimensions is."""
    if encoding.axis is not None:
        blocks = _from_front(encoding.axis, shape)
    elif channels is not None:
        blocks = _from_front(channels.blocks, shape)
    else:
        raise InputError("it has blocks, but no convolution or matrix product reads the tensor")
    if shape[blocks] % size:
        raise InputError(
            f"axis {blocks} does not divide into blocks", expected=f"a multiple of {size}", found=list(shape)
        )
    if encoding.is_flat and channels is not None:
        axis = _from_front(channels.axis, shape)
        counts = (shape[axis], shape[blocks] // size)
        if grid.scale.size != counts[0] * counts[1]:
            expected = f"{counts[1]} blocks in each of {counts[0]} channels"
            raise InputError("there are more or fewer scales than blocks", expected=expected, found=grid.scale.size)
        rows = (array.reshape(counts) for array in grid)
        ordered = Grid(*(array.T if blocks < axis else array for array in rows))
        grid = _arranged(ordered, {axis: counts[0], blocks: counts[1]}, len(shape))
    elif grid.scale.ndim != len(shape):
        raise InputError("its scales have another rank than the tensor", expected=len(shape), found=grid.scale.ndim)
    if grid.scale.shape[blocks] * size != shape[blocks]:
        found = f"{grid.scale.shape[blocks]} of {size}"
        raise InputError(f"there are more or fewer blocks along axis {blocks}", expected=shape[blocks], found=found)
    others = (pair for axis, pair in enumerate(zip(grid.scale.shape, shape, strict=True)) if axis != blocks)
    if any(count not in (1, extent) for count, extent in others):
        raise InputError("its scales do not fit the tensor", expected=list(shape), found=list(grid.scale.shape))
    return Grid(*(np.repeat(array, size, blocks) for array in grid))


def _from_front(axis: int, shape: tuple[int, ...]) -> int:
    if not -len(shape) <= axis < len(shape):
        raise InputError("the tensor has no such axis", expected=f"one of {list(shape)}", found=axis)
    return axis % len(shape)


def _arranged(grid: Grid, extents: dict[int, int], rank: int) -> Grid:
    """With extents of 1 in all other dimensions."""
    shape = [extents.get(axis, 1) for axis in range(rank)]
    return Grid(*(array.reshape(shape) for array in grid))


class SimulatedModel:
    """A model and its encodings, to be compiled for the shapes of its inputs.

    Args:
        path: an ONNX model, or what its file holds.
        encodings: ``None`` leaves the whole network in floating point.
        feature_maps: tensors of the model to be further outputs, as the model or AIMET names them: the
            values that the next operators read.

    Attributes:
        inputs, outputs: as a session names them; feature maps come after the outputs of the model.
        plain_names: of the outputs, as the model names them, in the same order.
        graph_outputs: how many of them come first that are outputs of the model itself.
        is_open: whether shapes of inputs must be given.
        images: how images became the samples that it was quantised by, as `ImageInputs` reads it.

    Raises:
        ModelError: the model cannot be read.
        InputError: no encoding fits a tensor of the model.
        UsageError: a feature map is no tensor of the model.
    """

    @resources("read model")
    def __init__(
        self, path: str | os.PathLike[str] | bytes, encodings: Encodings | None, feature_maps: Sequence[str] = ()
    ) -> None:
        self._folder = Path("" if isinstance(path, bytes) else path).parent
        model, _ = load_model(path)
        roles = tensor_roles(model)
        plain = [output.name for output in roles.outputs]
        every = dict.fromkeys(plain)
        for asked in feature_maps:
            name = asked if asked in roles.names else asked.removesuffix(SUFFIX)
            every[name] = None
            if name not in roles.names:
                hint = similar(name, sorted(roles.names), 3)
                raise UsageError(f"the feature map is no tensor of {os.fspath(path)!r}", found=repr(asked), hint=hint)
        further = [*every][len(plain) :]
        add_outputs(model, further)
        self._model = model
        self._roles = roles
        self._encodings = _by_name(encodings, roles) if encodings is not None else {}
        self._origin = encodings.origin if encodings is not None else ""
        self.is_open = any(each.is_open for each in roles.inputs)
        self.plain_names = tuple(every)
        self.graph_outputs = len(plain)
        self.inputs = tuple(roles.inputs)
        self.images = stated_images(model)
        suffixes = ((each, SUFFIX if roles.has_quantizer(each) else "") for each in roles.outputs)
        outputs = [replace(each, name=f"{each.name}{suffix}") for each, suffix in suffixes]
        self.outputs = (*outputs, *(Declaration(name, DType.F32, ()) for name in further))

    def module(self, input_shapes: Mapping[str, Sequence[int]] | None = None, **imported: Any) -> Module:
        """The network with the rounding in it, as imported; its outputs have the names of ``outputs``.
        Raises TilewrightError: it cannot be imported."""
        module = import_onnx(self._model, input_shapes, self._folder, self._rounded, **imported)
        main = module.main
        # Extents that the data decide stand behind the outputs.
        names = [output.name for output in self.outputs]
        main.set_results(main.results, [*names, *main.result_names[len(names) :]])
        return module

    @resources("compile")
    def compiled(
        self, input_shapes: Mapping[str, Sequence[int]] | None = None, *, keep: Sequence[str] = (), **imported: Any
    ) -> Artifact:
        """The network compiled for this processor.
        ``input_shapes``: of the inputs whose shapes the model leaves open.
        ``keep``: tensors that are further outputs, as in ``tilewright.compile``.
        ``imported``: ``frozen`` and ``bounds``, as `import_model` takes them.
        Raises TilewrightError: it cannot be compiled."""
        options = CompileOptions()
        options = CompileOptions(instruments=observers(options))
        module = self.module(input_shapes, **imported)
        package = Package(module, "fp32", tilewright.__version__)
        run_passes(simulation_pipeline(kept_names(module, keep)), module, options)
        package.add_kept(module)
        add_engine(package, "float", module, [TargetDescription.host()], report=options.report)
        return Artifact.open(package.to_bytes())

    def _rounded(self, importer: Importer, name: str, value: Value) -> Value:
        """What the network reads in place of a tensor."""
        encoding, dtype = self._encodings.get(name), value.type.dtype
        if encoding is None or not dtype.is_float:
            return value

        def cast(value: Value, to: DType) -> Value:
            return importer.emit_one(Cast(to), value, name=name) if value.type.dtype is not to else value

        try:
            if encoding.block_size is not None and not isinstance(value, Constant):
                raise InputError("it has blocks, which are for parameters alone")
            grid = grid_of(encoding, value.type.shape, self._roles.channels.get(name))
        except InputError as error:
            error.message = f"{self._origin}: the encoding of tensor {name!r} does not fit it: {error.message}"
            raise
        if grid is None:
            return cast(cast(value, DType.F16), dtype) if encoding.bits == 16 else value
        computed = DType.F64 if dtype is DType.F64 else DType.F32
        scale = grid.scale.astype(computed.numpy)
        with np.errstate(over="ignore"):
            low, high = (
                (scale.astype(np.float64) * bound).astype(computed.numpy)
                for bound in (grid.offset, grid.offset + 2**encoding.bits - 1)
            )
        arrays = {"scale": scale, "low": low, "high": high}
        operands = [importer.constant(np.asarray(array), f"{name}_{what}") for what, array in arrays.items()]
        rounded = importer.emit_one(FakeQuantize(), cast(value, computed), *operands, name=f"{name}{SUFFIX}")
        return cast(rounded, dtype)


def _by_name(encodings: Encodings, roles: TensorRoles) -> dict[str, Encoding]:
    """The encodings by the names of the model's tensors, with a warning of those that fit none.
    Raises InputError: none fits."""
    found: dict[str, Encoding] = {}
    unknown: list[TensorName] = []
    everything = {**encodings.activations, **encodings.parameters}
    for tensor, encoding in everything.items():
        name = _resolved(tensor, roles)
        if name is None:
            unknown.append(tensor)
        else:
            found[name] = encoding
    if unknown:
        names = first_of([repr(str(tensor)) for tensor in unknown], 5)
        if not found:
            raise InputError(
                f"{encodings.origin}: no encoding is for a tensor of the model",
                found=names,
                hint="Give the encodings that belong to this model, or an empty file to leave it in floating point.",
            )
        message = (
            f"{encodings.origin}: {len(unknown)} of {len(everything)} encodings are for tensors that the model lacks"
        )
        warn(f"{message}: {names}", EncodingsWarning)
    return found


def _resolved(tensor: TensorName, roles: TensorRoles) -> str | None:
    """The model's name of a tensor."""
    if not isinstance(tensor, ModuleTensor):
        return tensor if tensor in roles.names else None
    scope = roles.scopes.get(tensor.module)
    if scope is None:
        return None
    return next(islice(scope.inputs if tensor.side == "input" else scope.outputs, tensor.index, None), None)
