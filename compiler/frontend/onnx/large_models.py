"""Models of 2 GiB and more, of which protobuf writes no message: their constants lie in a file of their own."""

import hashlib
import os
from collections.abc import Iterator

import onnx
from google.protobuf.message import EncodeError, Message
from onnx import ModelProto, TensorProto

from tilewright.errors import UnsupportedError

from ....runtime.files.output_file import is_stream, output_file, write_file

LARGEST_FILE = 2**31 - 2**20
"""Bytes of constants in the file of a model at most: the nodes need some of the 2 GiB as well."""

_SMALL = 1024
"""Bytes below which a constant stays in the model: those that say shapes and axes must, for onnxruntime."""


def content_of(message: Message) -> bytes | None:
    """A message, as the file of a model is one, alike in each process; None where it is too large."""
    try:
        return message.SerializeToString(deterministic=True)
    except EncodeError:
        return None


def serialized(model: ModelProto, stage: str) -> bytes:
    """The content of the file of a model. Raises UnsupportedError: it is too large for one."""
    content = content_of(model)
    if content is None:
        hint = "Make its constants smaller first."
        raise UnsupportedError("the model is too large for one file", stage=stage, hint=hint)
    return content


def digest_of(model: ModelProto) -> str:
    """SHA-256 of the content of the file of a model; of one that has none, of its parts in order."""
    found = hashlib.sha256()
    for part in _parts(model):
        found.update(part)
    return found.hexdigest()


def _parts(message: Message) -> Iterator[bytes]:
    """The content of a message; where it is too large, and be it for one tensor, what each field has."""
    content = content_of(message)
    if content is not None:
        yield content
        return
    for field, value in message.ListFields():
        yield f"{field.number}:".encode()
        if field.message_type is None:
            yield value if isinstance(value, bytes) else repr(value).encode()
            continue
        for each in [value] if isinstance(value, Message) else value:
            yield from _parts(each)


def data_path(output: str | os.PathLike[str]) -> str:
    """Where constants lie that are too many for the file of a model."""
    return f"{os.fspath(output)}.data"


def write_model(output: str | os.PathLike[str], model: ModelProto) -> None:
    """Write a model that is in memory as a whole. Constants that are too many for one file lie in a second one, whose
    name has ``.data`` behind that of the first; the model is changed to say so.
    Raises OutputError: a file cannot be written; UnsupportedError: there would be two, and the output is no file."""
    size = sum(len(each.raw_data) for each in model.graph.initializer)
    if size > LARGEST_FILE:
        if is_stream(output):
            message = "the network is too large for one ONNX file, and there is no place for a second one"
            expected, hint = f"constants of at most {LARGEST_FILE} bytes", "Export it into a file."
            raise UnsupportedError(message, stage="export", expected=expected, found=size, hint=hint)
        data = data_path(output)
        # Both are complete before either gets its name.
        with output_file(output) as model_file, output_file(data) as file:
            for tensor in model.graph.initializer:
                if len(tensor.raw_data) >= _SMALL:
                    content, start = tensor.raw_data, file.tell()
                    file.write(content)
                    tensor.ClearField("raw_data")
                    tensor.data_location = TensorProto.EXTERNAL
                    said = {"location": os.path.basename(data), "offset": start, "length": len(content)}
                    entries = [onnx.StringStringEntryProto(key=key, value=f"{each}") for key, each in said.items()]
                    tensor.external_data.extend(entries)
            model_file.write(serialized(model, "export"))
            model_file.flush()
        return
    write_file(output, serialized(model, "export"))
