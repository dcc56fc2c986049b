"""Documents from the files and the contents that programs name."""

from __future__ import annotations

import os
from contextlib import suppress

from tilewright.errors import ModelError, resources

from ....compiler import reach
from ....files.input_file import input_file
from ..errors import InferenceEngineError, MissingFileError, WrongTypeError, WrongValueError, documented
from .document import OPEN
from .state import NetworkState

_WHAT = "reading a network"

_START = 64
"""Bytes of a file that tell its format."""


@documented
@resources("import")
def read_files(model: object, weights: object) -> NetworkState:
    """The network of two files.

    Args:
        weights: the path of the .bin file. If it is empty, the .bin file is the one beside the .xml file.

    Raises:
        FileNotFoundError: a path does not exist, or is a folder.
        TypeError: one is no path.
        ValueError: there are weights without a model.
        RuntimeError: the files are damaged, or use something that is not implemented.
    """
    if not model:
        raise WrongValueError("weights are given without a model", hint="Give both paths, or none.")
    path = _existing(model, "model")
    beside = _existing(weights, "weights") if weights else None
    with input_file(path, ModelError, "import") as file:
        start = file.read(_START)
    if path.lower().endswith(".xml") or _is_xml(start):
        return _settled(NetworkState(reach("frontend.ir.reader", _WHAT).read_document(path, beside)))
    return _from_onnx(path)


@documented
@resources("import")
def read_contents(model: object, weights: object) -> NetworkState:
    """The network of the contents of two files.

    Raises:
        TypeError: they are no bytes.
        RuntimeError: they are damaged, or use something that is not implemented.
    """
    kinds = (bytes, bytearray, memoryview)
    if not isinstance(model, kinds) or not isinstance(weights, kinds):
        found = f"{type(model).__name__} and {type(weights).__name__}"
        raise WrongTypeError("model and weights are no contents", expected="bytes", found=found)
    contents = bytes(model)
    if _is_xml(contents[:_START]):
        read = reach("frontend.ir.reader", _WHAT).read_document
        return _settled(NetworkState(read(contents, bytes(weights) or None)))
    return _from_onnx(contents)


def _from_onnx(model: str | bytes) -> NetworkState:
    source = reach("frontend.ir.onnx_source", _WHAT).OnnxSource(model)
    shapes = source.inputs
    if any(OPEN in shape for shape in shapes.values()):
        return _settled(NetworkState(source.inputs_alone(), source))
    return NetworkState(source.document(shapes), source)


def _settled(state: NetworkState) -> NetworkState:
    """A network with 1 for what its shapes leave open, where that fits; otherwise programs have to give others.

    Raises:
        ModelError: an input does not give one array.
    """
    for layer in state.graph.document.inputs():
        if len(layer.outputs) != 1 or layer.inputs:
            found = f"{len(layer.inputs)} inputs and {len(layer.outputs)} outputs"
            raise ModelError(
                "an input of the network does not give one array", stage="import", node=layer.name, found=found
            )
    if state.graph.is_open:
        shapes = {name: state.graph.shape(*end) for name, end in state.graph.inputs().items()}
        with suppress(InferenceEngineError):
            state.reshape(shapes, "1 does not fit")
        state.is_changed = False
    return state


def _is_xml(start: bytes) -> bool:
    """Whether a file begins like text in XML, whatever its encoding."""
    return start.lstrip(b"\xef\xbb\xbf\xfe\xff\0 \t\r\n").startswith(b"<")


def _existing(path: object, what: str) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise WrongTypeError(f"the {what} is no path", expected="text", found=type(path).__name__)
    name = os.fsdecode(path)
    if "\0" in name or not os.path.exists(name) or os.path.isdir(name):
        raise MissingFileError(f"Path to the {what} {name!r:.200} does not exist or is a directory")
    return name
