"""The elements of ONNX tensors: in the model itself, or in files beside it.

A model names those files, and models come from strangers. So a name reaches plain files in one folder and nothing else,
whatever the version of ``onnx`` would allow: every tensor is read here, and ``onnx`` is never asked to open a file.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tilewright.errors import ClassesWarning, ModelError, TilewrightError, UnsupportedError, warn
from tilewright.limits import FOLDED

from ....ir.types import DType
from ..builder import type_of_tensor
from .narrow_types import STORED, bits_of_element

WAS_SPARSE = "was sparse"
"""What the documentation of an initialiser says that was made dense."""

_NUMBER = re.compile("[0-9]{1,18}")


class TensorReader:
    """Reads the tensors of one model.
    ``folder``: where the files that the model names lie; ``None`` if it may name none.
    ``folder``: the same.
    ``bytes``, ``elements``: of all that was read, as the model holds it."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.bytes = self.elements = self._dense_bytes = 0
        self.folder = folder
        self._ranges: dict[tuple[int, int, int, int], np.ndarray] = {}
        self._unread: dict[tuple[int, int], int] = {}

    def array(self, tensor: onnx.TensorProto) -> np.ndarray:
        """The elements of a tensor, of a dtype of NumPy or ml_dtypes.
        Raises ModelError: they do not fill its shape, or lie where they cannot be read; UnsupportedError: its element
        type is not supported."""
        dtype = stored_type(tensor.data_type, tensor.name)
        type = type_of_tensor(f"tensor {tensor.name!r}", tensor.dims, dtype)
        is_narrow = tensor.data_type in STORED
        if tensor.data_location == onnx.TensorProto.EXTERNAL and not is_narrow:
            array = self._external(tensor, type.elements * dtype.bytes).view(dtype.numpy).reshape(type.shape)
        else:
            held = tensor
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                size = -(-type.elements * bits_of_element(tensor.data_type) // 8)
                data = self._external(tensor, size).tobytes()
                held = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
            try:
                array = onnx.numpy_helper.to_array(held).reshape(type.shape)
                array = array if is_narrow else np.asarray(array, dtype.numpy)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise ModelError(f"tensor {tensor.name!r} is damaged: {error}", stage="import") from None
        if dtype is DType.BOOL:
            # Bytes of a model may be any; kernels and NumPy rely on 0 and 1.
            array = np.asarray(array.view(np.uint8) != 0)
        array.flags.writeable = False
        # Zeros that the model does not hold make no room for more.
        if tensor.doc_string != WAS_SPARSE:
            self.bytes, self.elements = self.bytes + array.nbytes, self.elements + array.size
        return array

    def without_sparse(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A model, each of its initialisers dense: itself, or a copy where some hold what is not 0 alone.
        Raises ModelError: they do not fit their shapes, or are too many; UnsupportedError: an element type is not
        supported."""
        if not any(graph.sparse_initializer for graph in graphs_in(model)):
            return model
        copy = deepcopy(model)
        for graph in graphs_in(copy):
            for sparse in graph.sparse_initializer:
                if not (name := sparse.values.name) or not isinstance(name, str):
                    raise ModelError("a sparse initialiser has no name that is text", stage="import", found=repr(name))
                graph.initializer.append(self._dense(sparse))
            graph.ClearField("sparse_initializer")
        return copy

    def _dense(self, sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
        """A tensor with its zeros."""
        values, places, name = self.array(sparse.values), self.array(sparse.indices), sparse.values.name
        type = type_of_tensor(f"tensor {name!r}", sparse.dims, stored_type(sparse.values.data_type, name))
        self._dense_bytes += type.elements * values.itemsize
        if self._dense_bytes > (most := FOLDED + 8 * self.bytes):
            what = f"the elements of sparse tensor {name!r} and those before it are too many"
            raise ModelError(what, stage="import", expected=f"at most {most} bytes", found=self._dense_bytes)
        array = np.zeros(type.shape, values.dtype)
        try:
            index = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), type.shape)
            if places.dtype.kind != "i" or values.ndim != 1 or index.shape != values.shape or (index < 0).any():
                raise IndexError
            array.reshape(-1)[index] = values
        except (IndexError, TypeError, ValueError):
            what = f"the elements of sparse tensor {name!r} are not where its shape has places for them"
            raise ModelError(what, stage="import", expected=f"places in {list(type.shape)}") from None
        tensor = onnx.numpy_helper.from_array(array, name)
        tensor.doc_string = WAS_SPARSE
        return tensor

    def attribute(self, proto: onnx.AttributeProto, node: str) -> Any:
        """The value of an attribute of a node: a number, a text, an array, a graph, or a list of them."""
        if proto.type == onnx.AttributeProto.TENSOR:
            return self.array(proto.t)
        if proto.type == onnx.AttributeProto.SPARSE_TENSOR:
            return self.array(self._dense(proto.sparse_tensor))
        if proto.type == onnx.AttributeProto.GRAPH:
            return proto.g
        try:
            value = onnx.helper.get_attribute_value(proto)
        except Exception as error:
            raise ModelError(f"attribute {proto.name!r} is damaged: {error}", stage="import", node=node) from None
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def _external(self, tensor: onnx.TensorProto, size: int) -> np.ndarray:
        """The ``size`` bytes of a tensor that lie in another file; the same array for tensors that share them."""
        what = f"the elements of tensor {tensor.name!r}"
        if self.folder is None:
            raise ModelError(
                f"{what} are in another file, which a model that is no file itself may not name",
                stage="import",
                found=repr(_entry(tensor, "location")),
                hint="Name the folder of that file as external_data, or compile the model from its file.",
            )
        location = _entry(tensor, "location") or ""
        offset, length = _number(tensor, "offset", 0), _number(tensor, "length", size)
        if length != size:
            raise ModelError(f"{what} have the wrong size", stage="import", expected=f"{size} bytes", found=length)
        descriptor = self._open(location, what)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{what} are in something that is no plain file", stage="import", found=repr(location))
            if offset + size > status.st_size:
                found = f"bytes {offset} to {offset + size} of {status.st_size}"
                raise ModelError(f"{what} lie beyond the end of {location!r}", stage="import", found=found)
            file = status.st_dev, status.st_ino
            known = self._ranges.get((*file, offset, size))
            if known is not None:
                return known
            # So that a small model cannot ask for more memory than its files are large.
            self._unread[file] = self._unread.get(file, status.st_size) - size
            if self._unread[file] < 0:
                raise ModelError(f"tensors overlap in {location!r}", stage="import", found=f"tensor {tensor.name!r}")
            array = np.empty(size, np.uint8)
            with open(descriptor, "rb", buffering=0, closefd=False) as opened:
                opened.seek(offset)
                done = 0
                while done < size and (count := opened.readinto(array.data[done:])):
                    done += count
        except OSError as error:
            raise ModelError(f"{what} cannot be read: {error.strerror}", stage="import", found=repr(location)) from None
        finally:
            os.close(descriptor)
        if done < size:
            raise ModelError(f"{location!r} became shorter while it was read", stage="import")
        return self._ranges.setdefault((*file, offset, size), array)

    def _open(self, location: str, what: str) -> int:
        """A descriptor of the file; each part of its path is opened in the folder before it, and is no link."""
        *folders, name = [part.encode() for part in location.split("/") if part not in ("", ".")] or [b""]
        if location.startswith("/") or "\\" in location or "\0" in location or not name or b".." in (*folders, name):
            message = f"{what} must be in a file in the folder of the model"
            expected = "a relative path with '/' between its parts and no '..'"
            raise ModelError(message, stage="import", expected=expected, found=repr(location))
        flags = os.O_RDONLY | os.O_CLOEXEC
        assert self.folder is not None
        try:
            here = os.open(self.folder, flags | os.O_DIRECTORY)
            # Opening a pipe would wait for who writes to it.
            for part, more in (*((each, os.O_DIRECTORY) for each in folders), (name, os.O_NONBLOCK)):
                above = here
                try:
                    here = os.open(part, flags | os.O_NOFOLLOW | more, dir_fd=above)
                finally:
                    os.close(above)
        except FileNotFoundError:
            raise ModelError(
                f"{what} are in a file that is not there",
                stage="import",
                expected=f"{location!r} in the folder of the model",
                hint="Models with external data are several files, which are copied or downloaded together.",
            ) from None
        except OSError as error:
            path = Path(self.folder, location)
            if any(each.is_symlink() for each in (path, *path.parents[: len(folders)])):
                where = {"found": repr(location), "hint": "Put the file in the place of the link."}
                raise ModelError(f"{what} are behind a symbolic link", stage="import", **where) from None
            raise ModelError(f"{what} cannot be read: {error.strerror}", stage="import", found=repr(location)) from None
        return here


def _entry(tensor: onnx.TensorProto, key: str) -> str | None:
    """What the tensor says of the place of its elements."""
    values = [entry.value for entry in tensor.external_data if entry.key == key]
    if len(values) > 1 or not all(isinstance(value, str) for value in values):
        raise ModelError(f"tensor {tensor.name!r} has no clear {key} of its elements", stage="import", found=values)
    return values[0] if values else None


def _number(tensor: onnx.TensorProto, key: str, default: int) -> int:
    text = _entry(tensor, key)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        message = f"tensor {tensor.name!r} has a wrong {key} of its elements"
        raise ModelError(message, stage="import", expected="a number of bytes", found=repr(text[:40]))
    return int(text)


def inputs_of(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs of a graph but for those that older models list though they are initialisers."""
    initialised = {tensor.name for tensor in graph.initializer}
    return [info for info in graph.input if info.name not in initialised]


def graphs_in(part: onnx.ModelProto | onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto]:
    """Every graph in a model or a part of one: itself, those of its functions and the bodies of nodes."""
    if isinstance(part, onnx.ModelProto):
        yield from (graph for each in (part.graph, *part.functions) for graph in graphs_in(each))
        return
    if isinstance(part, onnx.GraphProto):
        yield part
    defaults = part.attribute_proto if isinstance(part, onnx.FunctionProto) else ()
    for attribute in (*defaults, *(attribute for node in part.node for attribute in node.attribute)):
        if attribute.HasField("g"):
            yield from graphs_in(attribute.g)


def tensors_in(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor in a model or a part of one, in the bodies of its nodes and functions too."""
    for field, value in message.ListFields():
        for each in (value if isinstance(value, Sequence) else (value,)) if field.message_type else ():
            if isinstance(each, onnx.TensorProto):
                yield each
            else:
                yield from tensors_in(each)


def stored_type(code: int, what: str) -> DType:
    """The type of what holds the elements of an ONNX type code: itself, or the integers of a narrow type."""
    return STORED[code] if code in STORED else element_type(code, what)


def element_type(code: int, what: str) -> DType:
    """The element type of an ONNX type code.
    Raises UnsupportedError: strings, complex numbers, 4- and 8-bit floats and the like."""
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(code))
    except (TilewrightError, KeyError, ValueError, TypeError):
        label = onnx.TensorProto.DataType.Name(code) if code in onnx.TensorProto.DataType.values() else code
        message, expected = f"{what!r} has an element type that is not supported", ", ".join(d.value for d in DType)
        hint = "Compute with it outside of the network: onnx.utils.extract_model cuts out the part with other numbers."
        raise UnsupportedError(message, stage="import", expected=expected, found=label, hint=hint) from None


def names_of_classes(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> np.ndarray | None:
    """The numbers of texts of which nodes do nothing but select some, as classifiers select a label; else ``None``."""
    if tensor.data_type != onnx.TensorProto.STRING:
        return None
    readers = {proto.op_type for proto in graph.node if tensor.name in proto.input}
    is_vector = len(tensor.dims) == 1 and tensor.dims[0] == len(tensor.string_data)
    if readers != {"ArrayFeatureExtractor"} or not is_vector:
        return None
    warn(f"{tensor.name!r} has names: what is selected of it are their numbers, from 0 on", ClassesWarning)
    return np.arange(len(tensor.string_data))
