"""ONNX to module: the door that models come in by.

Shapes are static: symbolic input dimensions are fixed when importing, and whatever can be computed from constants
and shapes is computed on the spot, so that Shape → Gather → Concat → Reshape chains leave plain attributes behind.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from tilewright import limits
from tilewright.errors import ModelError, OperatorSetWarning, UnsupportedError, warn

from ....ir.annotations import EXTENTS, OpenExtent
from ....ir.core import Function, Module, Value
from ....ir.text.names import Names
from ....runtime.files.foreign_model import START, foreign_format
from ....runtime.files.input_file import contents
from ..builder import SequenceValue, check_given, open_shapes_error, shape_text, type_of_tensor
from ..input_shapes import Declared, Frozen, GivenShapes, NetworkShape, frozen_array, names_in, one_shape
from .families import IMPORTS
from .functions import Functions, graph_of, standard_domain
from .importer import Importer, Replacement
from .large_models import digest_of
from .narrow_types import STORED, name_of
from .open_extents.intervals import Count
from .open_extents.missing_bounds import asking_for_all
from .open_extents.open_shapes import OpenShapes
from .tensors import WAS_SPARSE, TensorReader, graphs_in, inputs_of, stored_type, tensors_in

IMAGES = "tilewright.images"
"""The key under which models say how images became the samples that they were quantised by."""

NEWEST_OPSET = 28
"""The newest version of the standard operator set whose operators the importers know."""


@np.errstate(all="ignore")
def import_onnx(
    source: str | os.PathLike[str] | bytes | ModelProto,
    input_shapes: GivenShapes | None = None,
    external_data: str | os.PathLike[str] | None = None,
    replacement: Replacement | None = None,
    frozen: Frozen | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Module:
    """The network of an ONNX model as a module.

    The module is called after the file, without its ending: what exporters call graphs, such as ``torch-jit-export`` or
    ``g``, says nothing. Where there is no file it has the name of the graph.

    Args:
        source: path, file contents or loaded model.
        input_shapes: a full shape for inputs whose dimensions the model leaves open (or to replace), or what the name
            that it has for such a dimension stands for.
        external_data: the folder of the files that the model keeps tensors in; by default its own.
        replacement: what the network is to read in place of its inputs, of its constants and of the outputs of nodes.
        frozen: values of inputs that become constants.
        bounds: of elements of integer tensors, by which the data decide extents: the most.

    Raises:
        UsageError: a bound is of no tensor of the model, or of none of integers.
        ModelError: not an ONNX file, damaged, or inconsistent.
        UnsupportedError: uses an operator or feature that is not implemented.
    """
    imported = partial(_imported, source, input_shapes, external_data, replacement, frozen)
    return asking_for_all(imported, bounds or {})


def _imported(
    source: str | os.PathLike[str] | bytes | ModelProto,
    input_shapes: GivenShapes | None,
    external_data: str | os.PathLike[str] | None,
    replacement: Replacement | None,
    frozen: Frozen | None,
    bounds: Mapping[str, int],
    unbounded: dict[str, None],
) -> Module:
    reader = _tensor_reader(source, external_data)
    model, digest = load_model(source, reader)
    opsets = {standard_domain(o.domain): o.version for o in model.opset_import}
    standard = opsets.get("", 0)
    if standard > NEWEST_OPSET:
        warn(
            f"operator set {standard} is newer than {NEWEST_OPSET}, the newest that is known: its operators are taken "
            "to be what they were then",
            OperatorSetWarning,
        )
        for graph in graphs_in(model.graph):
            _check_unchanged(graph, standard)
    _check_names(model.graph, model.producer_name, model.producer_version)
    for function in model.functions:
        _check_names(graph_of(function), function.domain, function.overload, *function.attribute)
    is_file = not isinstance(source, (bytes, ModelProto))
    title = Path(source).stem.encode(errors="replace").decode() if is_file else model.graph.name
    module = Module(title or model.graph.name or "network")
    module.metadata = {"opset": str(standard), "sha256": digest}
    if model.producer_name:
        module.metadata["producer"] = f"{model.producer_name} {model.producer_version}".strip()
    if images := stated_images(model):
        module.metadata["images"] = images
    importer = Importer(module, opsets, IMPORTS, reader, replacement, Functions(model.functions), bounds)
    importer.open.unbounded = unbounded
    _add_parameters(importer, model.graph, input_shapes, dict(frozen or {}))
    results = importer.import_graph(model.graph)
    importer.check_bounds()
    if not results:
        raise ModelError("the graph has no outputs", stage="import")
    # What is named twice among the outputs is one of them.
    named = {output.name: (output, value) for output, value in zip(model.graph.output, results, strict=True)}
    ends = [end for each in named.values() for end in _outputs(importer, *each)]
    if not ends:
        raise UnsupportedError("the outputs are sequences that hold nothing", stage="import")
    if len({name for name, _ in ends}) < len(ends):
        raise ModelError("two outputs have one name", stage="import", found=", ".join(name for name, _ in ends))
    set_open_results(importer.function, ends, importer.open)
    ends += [(each.name, each) for each in importer.function.parameters]
    narrow = {name: name_of(importer.narrow[value]) for name, value in ends if value in importer.narrow}
    if narrow:
        module.metadata["elements"] = json.dumps(narrow)
    importer.finish()
    return module


def stated_images(model: ModelProto) -> str:
    """How images became the samples that a model was quantised by, as `ImageInputs` reads it; empty where it does not
    say so."""
    return next((each.value for each in model.metadata_props if each.key == IMAGES), "")


def _outputs(importer: Importer, output: onnx.ValueInfoProto, value: Value) -> list[tuple[str, Value]]:
    """The outputs that an output of the graph becomes: each tensor of a sequence is one, with its position behind the
    name; numbers of a narrow type are that again."""
    if isinstance(value, SequenceValue):
        if value.is_absent:
            raise UnsupportedError(f"output {output.name!r} is an optional that holds nothing", stage="import")
        return [(f"{output.name}.{position}", item) for position, item in enumerate(value.items)]
    return [(output.name, importer.as_declared(value, output))]


def set_open_results(function: Function, ends: Sequence[tuple[str, Value]], open: OpenShapes) -> None:
    """Return values by their names, and behind them the extents that the data decide, each once."""
    counts: dict[Count, int] = {}
    found: list[OpenExtent] = []
    for index, (_, value) in enumerate(ends):
        for axis, extent in enumerate(open.shape(value)):
            if isinstance(extent, Count):
                found.append(OpenExtent(index, axis, counts.setdefault(extent, len(ends) + len(counts))))
    names = Names(name for name, _ in ends)
    values = [*(value for _, value in ends), *(count.value for count in counts)]
    function.set_results(values, [*(name for name, _ in ends), *(names.take("extent") for _ in counts)])
    if found:
        EXTENTS.set(function, tuple(found))


def _check_unchanged(graph: onnx.GraphProto, opset: int) -> None:
    """Raise UnsupportedError for an operator that the onnx package knows to have changed after `NEWEST_OPSET`."""
    for node in graph.node:
        # What has no importer has a body in the operators of some version, or is refused where it is met.
        if ("", node.op_type) in IMPORTS and not standard_domain(node.domain) and onnx.defs.has(node.op_type):
            since = onnx.defs.get_schema(node.op_type, min(opset, onnx.defs.onnx_opset_version())).since_version
            if since > NEWEST_OPSET:
                raise UnsupportedError(
                    "the operator changed in a newer version of the operator set than is known",
                    stage="import",
                    op=node.op_type,
                    node=node.name or next(iter(node.output), ""),
                    expected=f"version {NEWEST_OPSET} or older",
                    found=since,
                    hint="onnx.version_converter.convert_version converts models between versions.",
                )


def load_model(
    source: str | os.PathLike[str] | bytes | ModelProto, reader: TensorReader | None = None
) -> tuple[ModelProto, str]:
    """An ONNX model as its file has it, but for sparse initialisers, which are dense; and the SHA-256 of its file.
    ``reader``: of its tensors; by default from files beside its own.
    Raises ModelError: not an ONNX file, or truncated; UnsupportedError: a sparse initialiser has an element type that
    is not supported."""
    reader = reader or _tensor_reader(source, None)
    if isinstance(source, ModelProto):
        return reader.without_sparse(source), digest_of(source)
    if isinstance(source, bytes):
        data, what = source, "the data"
    else:
        what = f"{os.fspath(source)!r}"
        data = contents(os.fspath(source), limits.ONNX_FILE, what, ModelError, "import")
    try:
        model = onnx.load_model_from_string(data)
    except MemoryError:
        raise
    except Exception:  # protobuf raises its own types, which differ between its implementations
        model = None
    if model is None or not model.HasField("graph") or not model.opset_import:
        if isinstance(source, bytes) and len(source) < START and os.path.isfile(source):
            hint = f"Give the path as a text, {os.fsdecode(source)!r}."
            raise ModelError("the data is the path of a file, and no model", stage="import", hint=hint)
        path = "FILE" if isinstance(source, bytes) else os.fsdecode(source)
        found = foreign_format(data[:START], path)
        if found is not None:
            raise ModelError(f"{what} is {found.name}, no ONNX model", stage="import", hint=found.advice(path))
        if model is not None and model.graph.node:
            hint = "Add the version that its exporter wrote: model.opset_import.add(version=...) in Python."
            raise ModelError(f"{what} names no version of its operators", stage="import", hint=hint)
        hint = "Check it with onnx.checker.check_model."
        raise ModelError(f"{what} is not an ONNX model, or is truncated", stage="import", hint=hint)
    return reader.without_sparse(model), hashlib.sha256(data).hexdigest()


def _tensor_reader(source: object, external_data: str | os.PathLike[str] | None) -> TensorReader:
    """What reads the tensors of a model, which are in files of ``external_data``, by default those beside its own."""
    is_file = isinstance(source, (str, os.PathLike))
    return TensorReader(Path(source).parent if external_data is None and is_file else external_data)


def digest_of_onnx(source: str | os.PathLike[str] | bytes, external_data: str | os.PathLike[str] | None) -> str:
    """SHA-256 of a model and of the tensors that it keeps in other files."""
    reader = _tensor_reader(source, external_data)
    model, digest = load_model(source, reader)
    found = hashlib.sha256(digest.encode())
    for tensor in tensors_in(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.doc_string == WAS_SPARSE:
            found.update(reader.array(tensor).tobytes())
    return found.hexdigest()


def external_files(
    source: str | os.PathLike[str] | bytes | ModelProto, external_data: str | os.PathLike[str] | None
) -> list[Path]:
    """The files that a model keeps tensors in, whether they are there or not."""
    reader = _tensor_reader(source, external_data)
    if reader.folder is None:
        return []
    held = (each for each in tensors_in(load_model(source, reader)[0]) if each.data_location == TensorProto.EXTERNAL)
    places = {entry.value for tensor in held for entry in tensor.external_data if entry.key == "location"}
    return [Path(reader.folder, place) for place in places if isinstance(place, str)]


def extents(tensor: onnx.TypeProto.Tensor) -> tuple[int | str | None, ...]:
    """The extents that a tensor declares: a number, or the name of what is open, ``None`` where that has none.

    Exporters also write -1 or 0 for what they leave open."""
    return tuple(d.dim_value if d.dim_value > 0 else (d.dim_param or None) for d in tensor.shape.dim)


def declared_inputs(
    graph: onnx.GraphProto, given: Collection[str] = ()
) -> dict[str, tuple[int | str | None, ...] | None]:
    """The extents of each input that is no initialiser; ``None`` where their number is open.
    ``given``: names that something is given for, which tell the tensors of a sequence."""
    found: dict[str, tuple[int | str | None, ...] | None] = {}
    for info in inputs_of(graph):
        type = info.type.optional_type.elem_type if info.type.HasField("optional_type") else info.type
        tensor = (type.sequence_type.elem_type if _is_sequence(type) else type).tensor_type
        names = (_parts(info.name, given) if _is_sequence(type) else []) or [info.name]
        found.update(dict.fromkeys(names, extents(tensor) if tensor.HasField("shape") else None))
    return found


def open_inputs(graph: onnx.GraphProto, shape: NetworkShape, frozen: Collection[str]) -> Declared:
    """The declared extents of those inputs that leave some open, by name, but for those that are given or frozen."""
    declared = {
        name: shape.declared(extents) if extents is not None else None
        for name, extents in declared_inputs(graph, {*shape.inputs, *frozen}).items()
        if name not in shape.inputs and name not in frozen
    }
    return {
        name: extents
        for name, extents in declared.items()
        if extents is None or not all(isinstance(each, int) for each in extents)
    }


def _add_parameters(importer: Importer, graph: onnx.GraphProto, given: GivenShapes | None, frozen: Frozen) -> None:
    inputs = {info.name: _declared(info) for info in inputs_of(graph)}
    names = {*names_in(given), *frozen}
    declared = declared_inputs(graph, names)
    shapes = one_shape(declared, given)
    check_given("value", frozen, declared)
    for name, type in inputs.items():
        if _is_sequence(type):
            tensor = type.sequence_type.elem_type.tensor_type
            parts = _parts(name, names)
            if not parts:
                raise ModelError(
                    f"input {name!r} is a sequence, and nobody says of how many tensors",
                    stage="import",
                    hint=f"Give the shape of each, in order: --input-shape {name}.0=2,3 --input-shape {name}.1=2,3 …",
                )
            items = [_input(importer, part, tensor, shapes, frozen) for part in parts]
            importer.define(name, SequenceValue(name, items))
        else:
            importer.define(name, _input(importer, name, type.tensor_type, shapes, frozen))
    left = open_inputs(graph, shapes, frozen)
    if left:
        # No shape helps a network of unknown operators, or whose files are not there.
        importer.check_supported(graph)
        importer.import_initialisers(graph)
        raise open_shapes_error(left)


def _declared(info: onnx.ValueInfoProto) -> onnx.TypeProto:
    """The type of an input; an optional one is one that is given."""
    type = info.type.optional_type.elem_type if info.type.HasField("optional_type") else info.type
    is_tensor = (type.sequence_type.elem_type if _is_sequence(type) else type).HasField("tensor_type")
    if not is_tensor:
        found = (type.WhichOneof("value") or "nothing").removesuffix("_type")
        raise UnsupportedError(
            f"input {info.name!r} is no tensor, and no sequence of them", stage="import", found=found
        )
    return type


def _is_sequence(type: onnx.TypeProto) -> bool:
    return type.HasField("sequence_type")


def _parts(name: str, given: Collection[str]) -> list[str]:
    """The names of the tensors of a sequence: its own with their positions behind, as shapes or values are given."""
    return [*takewhile(given.__contains__, (f"{name}.{position}" for position in count()))]


def _input(importer: Importer, name: str, tensor: onnx.TypeProto.Tensor, shapes: NetworkShape, frozen: Frozen) -> Value:
    """A parameter of the module, or the constant that it is frozen to."""
    dtype = stored_type(tensor.elem_type, name)
    given = shapes.inputs.get(name)
    declared = extents(tensor) if tensor.HasField("shape") else None
    if declared is not None and given is None:
        declared = shapes.declared(declared)
    if name in frozen:
        value = importer.constant(frozen_array(name, frozen[name], dtype, given or declared), name)
    else:
        shape = _resolve_shape(name, declared, given)
        value = importer.function.add_parameter(name, type_of_tensor(f"input {name!r}", shape, dtype))
    return importer.stored_as(tensor.elem_type, value) if tensor.elem_type in STORED else value


def _resolve_shape(
    name: str, declared: Sequence[int | str | None] | None, given: Sequence[int] | None
) -> tuple[int, ...]:
    """The shape of an input; 1 for what is open, until all inputs are known and those with open shapes are named."""
    if given is None:
        return tuple(each if isinstance(each, int) else 1 for each in declared or ())
    fits = declared is None or (
        len(given) == len(declared)
        and all(d == g or not isinstance(d, int) for d, g in zip(declared, given, strict=True))
    )
    if not fits or any(extent < 0 for extent in given):
        what, expected = f"the given shape does not fit input {name!r}", shape_text(declared)
        raise ModelError(what, stage="import", expected=expected, found=list(given))
    return tuple(given)


def _check_names(graph: onnx.GraphProto, *others: object) -> None:
    """Raise ModelError if a name of a graph stands for two tensors, or twice among inputs, or is no text.
    ``others``: further texts of the model."""
    named = (*graph.input, *graph.output, *graph.initializer)
    texts = [*others, graph.name, *(thing.name for thing in named)]
    texts += [dimension.dim_param for info in graph.input for dimension in info.type.tensor_type.shape.dim]
    for node in graph.node:
        texts += (node.name, node.op_type, node.domain, *node.input, *node.output)
    for text in texts:
        if not isinstance(text, str):
            raise ModelError("a name is not UTF-8 text", stage="import", found=text)
    twice = next((name for name, count in Counter(info.name for info in graph.input).items() if count > 1), None)
    if twice is not None:
        raise ModelError(f"two inputs are named {twice!r}", stage="import", hint="Rename one of them, or remove it.")
    initialised: dict[str, onnx.TensorProto] = {}
    for tensor in graph.initializer:
        other = initialised.setdefault(tensor.name, tensor)
        # Some exporters write what layers share once for each.
        if other is not tensor and other != tensor:
            hint = "Remove the one that is not meant, or rename it: nothing says which of them nodes read."
            raise ModelError(f"two initialisers are named {tensor.name!r} and differ", stage="import", hint=hint)
    taken = dict.fromkeys(initialised, "an initialiser")
    # Older models list their initialisers among the inputs, which is no second producer.
    taken.update((info.name, "an input") for info in graph.input)
    for node in graph.node:
        for name in filter(None, node.output):
            if name in taken:
                where = {"stage": "import", "node": node.name or name, "expected": "one producer"}
                raise ModelError(f"tensor {name!r} is produced twice", found=f"{taken[name]} and this node", **where)
            taken[name] = f"node {node.name or name!r}"
        for inner in (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH):
            _check_names(inner)
