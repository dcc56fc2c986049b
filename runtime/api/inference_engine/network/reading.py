"""Documents from the files and the contents that programs name."""

from __future__ import annotations

import os

from tilewright.errors import resources

from ....compiler import reach
from ..errors import MissingFileError, WrongTypeError, WrongValueError, documented
from .document import Document

_WHAT = "reading a network"


@documented
@resources("import")
def read_files(model: object, weights: object) -> Document:
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
    return reach("frontend.ir.reader", _WHAT).read_document(path, beside)


@documented
@resources("import")
def read_contents(model: object, weights: object) -> Document:
    """The network of the contents of two files.

    Raises:
        TypeError: they are no bytes.
        RuntimeError: they are damaged, or use something that is not implemented.
    """
    kinds = (bytes, bytearray, memoryview)
    if not isinstance(model, kinds) or not isinstance(weights, kinds):
        found = f"{type(model).__name__} and {type(weights).__name__}"
        raise WrongTypeError("model and weights are no contents", expected="bytes", found=found)
    return reach("frontend.ir.reader", _WHAT).read_document(bytes(model), bytes(weights) or None)


def _existing(path: object, what: str) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise WrongTypeError(f"the {what} is no path", expected="text", found=type(path).__name__)
    name = os.fsdecode(path)
    if "\0" in name or not os.path.exists(name) or os.path.isdir(name):
        raise MissingFileError(f"Path to the {what} {name!r:.200} does not exist or is a directory")
    return name
