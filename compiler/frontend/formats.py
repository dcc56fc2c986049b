"""Models of every format to modules; nothing after this knows which format a model came from."""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

import numpy as np
from onnx import ModelProto

from tilewright.errors import InputError, ParseError, TilewrightError, UsageError, resources

from ...ir.core import Module
from ...ir.verify import verify
from ...passes.instruments import load_dump
from ...passes.named_ops import named_like
from ...runtime.files.foreign_model import START, foreign_format, is_text
from .input_shapes import Declared, Frozen, GivenShapes, NetworkShape, each_shape, frozen_array, names_in, one_shape
from .ir import families as _families
from .ir.document import Document
from .ir.importer import import_document, input_type
from .ir.reader import read_document
from .ir.writer import weights_path
from .onnx.reader import declared_inputs, digest_of_onnx, external_files, import_onnx, load_model, open_inputs
from .onnx.tensor_roles import tensor_roles
from .onnx.tensors import graphs_in


def is_ir(model: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether this is the path of a model of Inference Engine IR, read or to be written."""
    return isinstance(model, (str, os.PathLike)) and Path(model).suffix.lower() == ".xml"


Model = str | os.PathLike[str] | bytes | ModelProto | Document
"""The path of a model, the contents of an ONNX model, or a model that is loaded."""

assert _families.OPSET


def import_model(
    source: Model,
    input_shapes: GivenShapes | None = None,
    external_data: str | os.PathLike[str] | None = None,
    frozen: Frozen | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Module:
    """The network of a model as a module.

    Args:
        source: the path of an ``.xml`` file, with its ``.bin`` file beside it, is one of Inference Engine IR; every
            other one is one of ONNX.
        input_shapes: a full shape for inputs whose dimensions the model leaves open (or to replace), or what the name
            that an ONNX model has for such a dimension stands for.
        external_data: the folder of the files that an ONNX model keeps tensors in; by default its own.
        frozen: values of inputs that become constants.
        bounds: of elements of integer tensors of an ONNX model, by which the data decide extents: the most.

    Raises:
        ModelError: the model cannot be read, is damaged, or inconsistent.
        UnsupportedError: it uses an operator or feature that is not implemented.
        UsageError: a folder of tensors is given for a model that names none.
    """
    if isinstance(source, (bytes, ModelProto)):
        return import_onnx(source, input_shapes, external_data, frozen=frozen, bounds=bounds)
    if not isinstance(source, Document):
        if not is_ir(source):
            return import_onnx(source, input_shapes, external_data, frozen=frozen, bounds=bounds)
        title = Path(source).stem
        source = read_document(source)
    else:
        title = source.name
    for name, given in {"external_data": external_data, "--bound": bounds}.items():
        if given:
            raise UsageError(f"{name} is for ONNX models", hint="Leave it out.")
    module = import_document(source, one_shape(_declared(source), input_shapes).inputs, frozen)
    module.name = title.encode(errors="replace").decode() or module.name
    return module


def digest_of(source: str | os.PathLike[str] | bytes, external_data: str | os.PathLike[str] | None = None) -> str:
    """SHA-256 of all files that a model consists of; arguments and errors as for :func:`import_model`."""
    if is_ir(source):
        return read_document(source).digest
    return digest_of_onnx(source, external_data)


def further_files(source: Model, external_data: str | os.PathLike[str] | None = None) -> list[Path]:
    """The files that tensors of a model are read from beside its own; of one that cannot be read none."""
    if isinstance(source, Document):
        return []
    if is_ir(source):
        return [weights_path(source)]
    with suppress(TilewrightError):
        return external_files(source, external_data)
    return []


def shapes_of(
    source: Model, input_shapes: GivenShapes | None, frozen: Frozen | None = None
) -> tuple[NetworkShape, ...]:
    """Each of the shapes that are given for a model, for :func:`import_model`."""
    if not input_shapes:
        return (NetworkShape({}, {}),)
    return open_inputs_of(source, input_shapes, frozen)[0]


def open_inputs_of(
    source: Model, input_shapes: GivenShapes | None, frozen: Frozen | None
) -> tuple[tuple[NetworkShape, ...], Declared]:
    """The shapes that are given for a model, and the extents of ONNX inputs, not frozen, that the first leaves open."""
    if is_ir(source):
        source = read_document(source)
    if isinstance(source, Document):
        return each_shape(_declared(source), input_shapes), {}
    graph = load_model(source)[0].graph
    shapes = each_shape(declared_inputs(graph, {*names_in(input_shapes), *(frozen or ())}), input_shapes)
    return shapes, open_inputs(graph, shapes[0], frozen or ())


def known_names(source: Model, names: Collection[str]) -> set[str]:
    """Which of some names and patterns a model has for inputs or their open extents."""
    if is_ir(source):
        source = read_document(source)
    is_document = isinstance(source, Document)
    declared = _declared(source) if is_document else declared_inputs(load_model(source)[0].graph, names)
    own = [*declared, *(each for extents in declared.values() for each in extents or () if isinstance(each, str))]
    return {name for name in names if name in own or named_like(name, own)}


def known_tensors(source: Model, names: Collection[str]) -> set[str]:
    """Which of some names the tensors of an ONNX model have, in functions behind those of the nodes that call them."""
    if not names or isinstance(source, Document) or is_ir(source):
        return set()
    model, _ = load_model(source)
    graphs = [*graphs_in(model.graph)]
    own = {each.name for graph in graphs for each in (*graph.input, *graph.initializer)}
    own |= {output for graph in graphs for node in graph.node for output in node.output}
    bodies = (body for each in model.functions for body in (each, *graphs_in(each)))
    inner = tuple({f"/{output}" for body in bodies for node in body.node for output in node.output if output})
    return {name for name in names if name in own or name.endswith(inner)}


def frozen_arrays(source: Model, frozen: Frozen) -> dict[str, np.ndarray]:
    """The elements of inputs of a model that are frozen, but for parts of sequences, in the types of these inputs.
    Raises UsageError: they are no such elements."""
    if not frozen:
        return {}
    if is_ir(source):
        source = read_document(source)
    if isinstance(source, Document):
        types = {layer.name: (input_type(layer), layer.declared) for layer in source.inputs()}
    else:
        types = {each.name: (each.dtype, each.shape) for each in tensor_roles(load_model(source)[0]).inputs}
    return {name: frozen_array(name, each, *types[name]) for name, each in frozen.items() if name in types}


def _declared(document: Document) -> dict[str, None]:
    """The inputs of a document, whose open extents have no names."""
    return dict.fromkeys(layer.name for layer in document.inputs())


@resources("read module")
def read_module(
    path: Path,
    input_shapes: GivenShapes,
    external_data: str | os.PathLike[str] | None = None,
    frozen: Frozen | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Module:
    """The module of a model, ONNX or IR, or of a text with its arrays in ``blobs/`` beside it.
    ``input_shapes``, ``external_data``, ``frozen``, ``bounds``: see :func:`import_model`; for models only.
    Raises ModelError, InputError: the file cannot be read, or is not what its name says; UsageError: shapes are given
    for a text, which has its own; ParseError, VerifyError: the text is malformed, or is no sound module."""
    if is_ir(path) or path.suffix == ".onnx":
        return import_model(path, input_shapes, external_data, frozen, bounds)
    if input_shapes:
        raise UsageError("--input-shape is for ONNX models; the shapes of a module are fixed", found=str(path))
    if frozen:
        raise UsageError("--freeze is for models; a module keeps its inputs", found=str(path))
    if bounds:
        raise UsageError("--bound is for models; a module has no open extents", found=str(path))
    try:
        module = load_dump(path)
    except (ParseError, UnicodeDecodeError) as error:
        start = path.read_bytes()[:START]
        if isinstance(error, ParseError) and is_text(start):
            error.message = f"module {str(path)!r}: {error.message}"
            raise
        found = foreign_format(start, str(path))
        if found is not None:
            raise InputError(f"{str(path)!r} is {found.name}, no module", hint=found.advice(str(path))) from None
        raise InputError(f"{str(path)!r} is neither an ONNX model (.onnx) nor a module as text") from None
    verify(module, stage="read")
    return module
