"""Requests and answers of the Open Inference Protocol, version 2, with tensors as JSON or as bytes behind it.

Sources: the protocol of KServe, ``specification/protocol/inference_rest.md`` of open-inference-protocol, and its binary
tensor data extension, ``docs/protocol/extension_binary_data.md`` of the Triton inference server. Bodies come from
strangers: everything is compared with what the network takes before memory is taken for it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from tilewright.errors import InputError, similar
from tilewright.immutable import Immutable
from tilewright.limits import SERVED_NUMBER, SERVED_TEXT

from ..artifact.manifest import NUMPY_DTYPES, TensorSpec
from ..execution.buffers import check_names

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that says how many bytes of JSON stand before the bytes of tensors."""

EXTENSIONS = ("binary_tensor_data",)
"""What servers of these requests have beyond the protocol."""

DATATYPES = {name: dtype.name.replace("float", "fp").upper() for name, dtype in NUMPY_DTYPES.items()}
"""How the protocol calls element types. Networks here have neither its BF16 nor its BYTES at their ends."""

_UNKNOWN = ("classification", "sequence_id", "shared_memory_region")
"""Parameters of extensions that are not there and would change the answer."""

_PYTHON_TYPES = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}

Shapes = Mapping[str, tuple[int, ...]]


class RefusedError(InputError):
    """A request that is not answered, with the HTTP status that says why."""

    def __init__(self, status: int, message: str, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.status = status


class Inference(Immutable):
    """A request: its identifier, if it has one, the arrays, and for each output it asks for whether as bytes."""

    identifier: str | None
    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool]


def most_bytes(inputs: Sequence[TensorSpec], *, binary: bool) -> int:
    """Bytes that a body may have for inputs of these types and shapes, with their numbers as bytes or as JSON."""
    return SERVED_TEXT + sum(spec.bytes if binary else math.prod(spec.shape) * SERVED_NUMBER for spec in inputs)


def read_request(
    body: bytearray,
    header_length: str | None,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    check_shapes: Callable[[Shapes], None],
) -> Inference:
    """The request in a body.
    ``header_length``: the header of this name, where the request has it.
    ``inputs``: of the network; their shapes are the largest that they can have.
    ``check_shapes``: raises InputError for shapes that the network does not take.
    Raises InputError: it is none for this network."""
    length = _length(header_length, len(body))
    request = _object(_parsed(body[:length], sum(math.prod(spec.shape) for spec in inputs)), "the request")
    tensors = _by_name(request.get("inputs"), "inputs")
    check_names(tensors, inputs)
    types = {spec.name: spec for spec in inputs}
    shapes = {spec.name: _shape(spec.name, tensors[spec.name], spec) for spec in inputs}
    check_shapes(shapes)
    arrays, position = dict[str, np.ndarray](), length
    for name, tensor in tensors.items():
        size = _parameters(tensor, f"input {name!r}").get("binary_data_size")
        if size is None:
            arrays[name] = _numbers(name, tensor.get("data"), shapes[name], types[name].numpy)
            continue
        if "data" in tensor:
            raise InputError(f"input {name!r} has both data and binary_data_size")
        arrays[name] = _elements(name, body, position, size, shapes[name], types[name].numpy)
        position += size
    if position != len(body):
        raise InputError("the body goes on behind its tensors", expected=f"{position} bytes", found=len(body))
    identifier = request.get("id")
    if not isinstance(identifier, str | None):
        raise InputError("the id of the request is no string", found=type(identifier).__name__)
    ordered = {spec.name: arrays[spec.name] for spec in inputs}
    return Inference(identifier, ordered, _asked(request, [spec.name for spec in outputs]))


def answer(
    description: Mapping[str, object], arrays: Mapping[str, np.ndarray], types: Sequence[TensorSpec], request: Inference
) -> tuple[bytes, dict[str, str]]:
    """The body of an answer, and its headers.
    ``description``: what stands in the answer beside identifier and outputs.
    Raises InputError: a number has no form in JSON."""
    tensors: list[dict[str, object]] = []
    behind: list[bytes] = []
    names = {spec.name: DATATYPES[spec.dtype] for spec in types}
    for name, binary in request.outputs.items():
        array = arrays[name]
        tensor: dict[str, object] = {"name": name, "datatype": names[name], "shape": list(array.shape)}
        if binary:
            behind.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"output {name!r} holds infinities or what is no number, which JSON has no form for",
                hint="Ask for it with the parameter binary_data.",
            )
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    identifier = {} if request.identifier is None else {"id": request.identifier}
    text = json.dumps({**description, **identifier, "outputs": tensors}, separators=(",", ":")).encode()
    if not behind:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return b"".join((text, *behind)), headers


def _length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 20) or int(header) > size:
        raise InputError(f"{HEADER_LENGTH} is wrong", expected=f"a number of at most {size}", found=repr(header))
    return int(header)


def _parsed(text: bytearray, elements: int) -> object:
    """The JSON, which can hold no more values than a request for so many elements has."""
    if len(text) > SERVED_TEXT and text.count(b",") > elements + SERVED_TEXT // SERVED_NUMBER:
        raise InputError("the JSON holds more values than the network takes", expected=f"{elements} elements")

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number of JSON; it can be sent as binary data")

    try:
        return json.loads(text.decode(), parse_constant=refuse)
    except RecursionError:
        raise InputError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"the body is no JSON: {error}") from None


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} is no JSON object", found=type(value).__name__)
    return value


def _parameters(holder: Mapping[str, Any], what: str) -> dict[str, Any]:
    found = _object(holder.get("parameters", {}), f"parameters of {what}")
    for name in _UNKNOWN:
        if name in found:
            raise InputError(f"{what} has the parameter {name!r}, which this server does not know")
    return found


def _by_name(values: object, what: str) -> dict[str, dict[str, Any]]:
    """The tensors that a list describes, by name."""
    if not isinstance(values, list):
        raise InputError(f"the {what} of the request are no list", found=type(values).__name__)
    found: dict[str, dict[str, Any]] = {}
    for value in values:
        tensor = _object(value, f"one of the {what}")
        name = tensor.get("name")
        if not isinstance(name, str):
            raise InputError(f"one of the {what} has no name", expected="a string", found=type(name).__name__)
        if name in found:
            raise InputError(f"{name!r} stands twice among the {what}")
        found[name] = tensor
    return found


def _shape(name: str, tensor: Mapping[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    """The shape of an input, which has the type of the network's."""
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype != DATATYPES[spec.dtype]:
        raise InputError(f"input {name!r} has the wrong datatype", expected=DATATYPES[spec.dtype], found=repr(datatype))
    if not isinstance(shape, list) or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise InputError(f"input {name!r} has no shape", expected="a list of whole numbers of at least 0")
    return tuple(shape)


def _elements(
    name: str, body: bytearray, position: int, size: object, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """The array that stands in the body, without a copy."""
    count = math.prod(shape)
    if type(size) is not int or size != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize} for the shape {list(shape)}"
        raise InputError(f"binary_data_size of input {name!r} is wrong", expected=expected, found=repr(size))
    if position + size > len(body):
        raise InputError(f"the body ends within input {name!r}", expected=f"{size} bytes", found=len(body) - position)
    array = np.frombuffer(body, dtype, count, position).reshape(shape)
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise InputError(f"input {name!r} holds bytes that are no truth values", expected="0 and 1")
    return array


def _numbers(name: str, data: object, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array of numbers in JSON, in a row or nested as the shape is."""
    if not isinstance(data, list):
        raise InputError(f"input {name!r} has no data", expected="a list, or the parameter binary_data_size")
    try:
        objects = np.array(data, object)
    except ValueError:
        raise InputError(f"the data of input {name!r} are lists of different lengths") from None
    if objects.shape not in (shape, (math.prod(shape),)):
        raise InputError(f"the data of input {name!r} have another shape", expected=shape, found=objects.shape)
    values = objects.ravel().tolist()
    if not {*map(type, values)} <= _PYTHON_TYPES[dtype.kind]:
        raise InputError(f"the data of input {name!r} are of another type", expected=f"elements of {dtype}")
    if dtype.kind in "iu" and values:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        if min(values) < least or max(values) > most:
            raise InputError(f"the data of input {name!r} are out of range", expected=f"{least} to {most}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype).reshape(shape)
    except OverflowError:
        array = np.array(np.inf)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"the data of input {name!r} are out of range", expected=f"numbers of {dtype}")
    return array


def _asked(request: Mapping[str, Any], names: Sequence[str]) -> dict[str, bool]:
    """The outputs that the request asks for, by default all, and whether as bytes."""
    usual = _truth(_parameters(request, "the request").get("binary_data_output", False), "binary_data_output")
    listed = request.get("outputs")
    if listed is None:
        return dict.fromkeys(names, usual)
    asked = _by_name(listed, "outputs")
    for name in asked:
        if name not in names:
            expected = " or ".join(map(repr, names))
            raise InputError(f"unknown output {name!r}", expected=expected, hint=similar(name, names))
    found = {name: _parameters(tensor, f"output {name!r}").get("binary_data", usual) for name, tensor in asked.items()}
    return {name: _truth(binary, "binary_data") for name, binary in found.items()}


def _truth(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"the parameter {what} is no truth value", expected="true or false", found=repr(value))
    return value
