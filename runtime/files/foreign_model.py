"""Models in formats that are not read: what a file or a folder is, by what is in it, and what converts it."""

import codecs
import fnmatch
import os
import re
import struct
from collections.abc import Callable

from tilewright.immutable import Immutable

START = 4096
"""Bytes of the beginning that tell."""

_KERAS = "In Python: keras.models.load_model({path!r}).export('model.onnx', format='onnx')."
_TORCH = "In Python, torch.onnx.export(model, example_inputs, 'model.onnx') writes the network that they belong to."


_CORE_ML = "Export the network that it was made of to ONNX."
_ARRAYS = "Arrays are inputs, of `tilewright run`, or calibration data; a network is an .onnx file."
_MODULE = "Run passes on it with `tilewright opt`, which reads it."


class Format(Immutable):
    """A format of model files, or of folders.

    Attributes:
        name: with an article.
        is_one: whether a file begins as such files do.
        hint: how to convert it; ``{path}`` stands for the file or the folder.
        endings: of names of such files, whatever is in them.
        holds: pattern of the name of a file that such folders hold.
    """

    name: str
    is_one: Callable[[bytes], bool]
    hint: str
    endings: tuple[str, ...] = ()
    holds: str | None = None

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


def is_text(start: bytes) -> bool:
    """Whether what a file begins with is text in UTF-8, as far as it can be seen."""
    try:
        # The last character may be cut.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(each.isprintable() or each in "\t\n\r\f" for each in text)


def _never(_: bytes) -> bool:
    return False


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
    Format("a package of Core ML", _first_member(rb"\.mlpackage/|com\.apple\.CoreML"), _CORE_ML, holds="Manifest.json"),
    Format("an archive of NumPy", _first_member(rb"(?s)\A.{30}[^/]+\.npy"), _ARRAYS),
    Format("an array of NumPy", _begins(b"\x93NUMPY"), _ARRAYS),
    Format("weights or a model of PyTorch", _begins(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), _TORCH),
    Format(
        "a pickled object of Python",
        _begins(*(bytes([0x80, protocol]) for protocol in range(2, 6))),
        f"{_TORCH} For scikit-learn: skl2onnx.to_onnx(model, example_inputs).",
    ),
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
        # Operators or tags of a graph, where the description of a Core ML model has the name of an input.
        lambda start: re.match(rb'\x08\x01\x12[\x80-\xff]*[\0-\x7f]\n[\x80-\xff]*[\0-\x7f][\x12"]', start) is not None,
        "Convert its folder with: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    ),
    Format(
        "a saved model of TensorFlow",
        _never,
        "Convert it with: python -m tf2onnx.convert --saved-model {path} --output model.onnx",
        holds="saved_model.pb",
    ),
    Format(
        "a model of transformers",
        _never,
        "Convert it with: optimum-cli export onnx --model {path} OUT",
        holds="*.safetensors",
    ),
    Format("ONNX models", _never, "Give the path of one of its files.", holds="*.onnx"),
    Format(
        "a model of Core ML",
        lambda start: re.match(rb"\x08[\x01-\x20]\x12[\x80-\xff]{0,2}[\0-\x7f]\n", start) is not None,
        _CORE_ML,
        (".mlmodel",),
    ),
    Format(
        "a model in the format of onnxruntime",
        lambda start: start[4:8] == b"ORTM",
        "Give the .onnx file it was made of.",
    ),
    Format("an engine of TensorRT", _begins(b"ftrt", b"ptrt"), "Give the model that it was made of."),
    Format(
        "a model of PaddlePaddle",
        _never,
        "Convert it with: paddle2onnx --model_dir FOLDER --model_filename {path} --save_file model.onnx",
        (".pdmodel",),
    ),
    Format("a model of Caffe", _never, "Convert it to ONNX first.", (".caffemodel", ".prototxt")),
    Format(
        "a container of models of the kp API",
        _never,
        "Give the model that it was made of; tilewright inspect shows what is in it.",
        (".nef",),
    ),
    Format(
        "the weights of an ONNX model",
        _never,
        "Give the .onnx file that belongs to them.",
        (".onnx.data", ".onnx_data", ".onnx.bin"),
    ),
    Format("an archive", _begins(b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ"), "Unpack it first."),
    Format("an archive", lambda start: start[257:262] == b"ustar", "Unpack it first."),
    Format("a picture", _begins(b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "Pictures are inputs, or calibration data."),
    Format(
        "a network of the Inference Engine",
        lambda start: re.match(rb"\s*(<\?xml[^>]*>)?\s*<net\s", start) is not None,
        "Give its name the ending .xml, and the name of its weights beside it the ending .bin.",
    ),
    Format(
        "a frozen graph of TensorFlow",
        lambda start: start.startswith(b"\x0a") and re.search(rb"\x12(\x05Const|\x0bPlaceholder)", start) is not None,
        "Convert it with: python -m tf2onnx.convert --graphdef {path} --inputs X:0 --outputs Y:0 --output model.onnx",
    ),
    Format("a Tilewright artifact", _begins(b"\x89TWA"), "Run it with `tilewright run`."),
    Format("a module as text", lambda start: start.startswith(b"module ") and is_text(start), _MODULE),
    Format("a text", is_text, "Models are .onnx or .xml files, artifacts .twa files."),
)


def foreign_format(start: bytes, path: str = "") -> Format | None:
    """The format of a file that begins so, ``None`` if it is none of those that are known.
    ``start``: the first `START` bytes, or all where there are fewer.
    ``path``: of the file; some are known by their names alone."""
    name = path.lower()
    return next((each for each in FORMATS if each.is_one(start) or name.endswith(each.endings)), None)


def foreign_folder(path: str) -> Format | None:
    """What a folder is the model of, ``None`` if it is none of those that are known, or cannot be read."""
    try:
        names = os.listdir(path)
    except (OSError, ValueError):
        return None
    return next((each for each in FORMATS if each.holds and fnmatch.filter(names, each.holds)), None)
