"""Models in formats that are not read: what a file is, by how it begins, and what converts it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

START = 4096
"""Bytes of the beginning that tell."""

_KERAS = "In Python: keras.models.load_model({path!r}).export('model.onnx', format='onnx')."
_TORCH = "In Python, torch.onnx.export(model, example_inputs, 'model.onnx') writes the network that they belong to."


@dataclass(frozen=True)
class Format:
    """A format of model files.

    Attributes:
        name: with an article.
        is_one: whether a file begins as such files do.
        hint: how to convert it; ``{path}`` stands for the file.
    """

    name: str
    is_one: Callable[[bytes], bool]
    hint: str

    def advice(self, path: str) -> str:
        """How to convert the file."""
        return self.hint.format(path=path)


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(starts)


def _first_member(pattern: bytes) -> Callable[[bytes], bool]:
    """Whether it is a ZIP archive whose first members have names like this."""
    return lambda start: start.startswith(b"PK\x03\x04") and re.search(pattern, start) is not None


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 1 << 32


FORMATS = (
    Format("empty", lambda start: not start, "Download or export it again."),
    Format("a pointer of Git LFS", _begins(b"version https://git-lfs"), "`git lfs pull` fetches the file itself."),
    Format("a page of the web", _begins(b"<!DOCTYPE html", b"<!doctype html", b"<html"), "Download the file itself."),
    Format(
        "a model in TorchScript",
        # Weights have a version, too, but not as the first member, where old TorchScript has it.
        _first_member(rb"(?s)/(code/|constants\.pkl)|\A.{30}[^/]+/version"),
        "In Python: torch.onnx.export(torch.jit.load({path!r}), example_inputs, 'model.onnx').",
    ),
    Format("a model of Keras", _first_member(rb"metadata\.json|config\.json|model\.weights\.h5"), _KERAS),
    Format("weights or a model of PyTorch", _first_member(rb"/data\.pkl"), _TORCH),
    Format("weights or a model of PyTorch", _begins(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), _TORCH),
    Format("weights in safetensors", _is_safetensors, f"{_TORCH} Of transformers: optimum-cli export onnx."),
    Format(
        "a model of TensorFlow Lite",
        lambda start: start[4:8] == b"TFL3",
        "Convert it with: python -m tf2onnx.convert --tflite {path} --output model.onnx",
    ),
    Format("a model or weights in HDF5, as Keras writes it", _begins(b"\x89HDF\r\n\x1a\n"), _KERAS),
    Format("a language model in GGUF", _begins(b"GGUF"), "Export the model that it was made of to ONNX."),
    Format(
        "a saved model of TensorFlow",
        lambda start: start.startswith(b"\x08\x01\x12") and b"\x0a\x05serve" in start,
        "Convert its folder with: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    ),
    Format(
        "a frozen graph of TensorFlow",
        lambda start: start.startswith(b"\x0a") and re.search(rb"\x12(\x05Const|\x0bPlaceholder)", start) is not None,
        "Convert it with: python -m tf2onnx.convert --graphdef {path} --inputs X:0 --outputs Y:0 --output model.onnx",
    ),
    Format("a Tilewright artifact", _begins(b"\x89TWA"), "Run it with `tilewright run`."),
)


def foreign_format(start: bytes) -> Format | None:
    """The format of a file that begins so, ``None`` if it is none of those that are known.

    Args:
        start: the first `START` bytes, or all where there are fewer.
    """
    return next((each for each in FORMATS if each.is_one(start)), None)
