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
_ONNX_TEXT = "In Python: onnx.save(onnx.load({{path!r}}, format={!r}), 'model.onnx')."
_MODULE = "Run passes on it with `tilewright opt`, which reads it."


class Format(Immutable):
    """A format of model files, or of folders.

    Attributes:
        name: with an article.
        hint: how to convert it; ``{path}`` stands for the file or the folder.
        is_one: whether a file begins as such files do.
        endings: of names of such files, whatever is in them.
        holds: pattern of the name of a file that such folders hold.
    """

    name: str
    hint: str
    is_one: Callable[[bytes], bool] = lambda start: False
    endings: tuple[str, ...] = ()
    holds: str | None = None

    def advice(self, path: str) -> str:
        """How to convert the file."""
        return self.hint.format(path=path)


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(starts)


def _matches(pattern: bytes) -> Callable[[bytes], bool]:
    return lambda start: re.match(pattern, start) is not None


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


FORMATS = (
    Format("empty", "Download or export it again.", lambda start: not start),
    Format("a pointer of Git LFS", "`git lfs pull` fetches the file itself.", _begins(b"version https://git-lfs")),
    Format("a page of the web", "Download the file itself.", _begins(b"<!DOCTYPE html", b"<!doctype html", b"<html")),
    # Weights have a version, too, but not as the first member, where old TorchScript has it.
    Format(
        "a model in TorchScript",
        "In Python: torch.onnx.export(torch.jit.load({path!r}), example_inputs, 'model.onnx').",
        _first_member(rb"(?s)/(code/|constants\.pkl)|\A.{30}[^/]+/version"),
    ),
    Format("a model of Keras", _KERAS, _first_member(rb"metadata\.json|config\.json|model\.weights\.h5")),
    Format("weights or a model of PyTorch", _TORCH, _first_member(rb"/data\.pkl")),
    Format("a package of Core ML", _CORE_ML, _first_member(rb"\.mlpackage/|com\.apple\.CoreML"), holds="Manifest.json"),
    Format("an archive of NumPy", _ARRAYS, _first_member(rb"(?s)\A.{30}[^/]+\.npy")),
    Format("an array of NumPy", _ARRAYS, _begins(b"\x93NUMPY")),
    Format("weights or a model of PyTorch", _TORCH, _begins(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")),
    Format(
        "a pickled object of Python",
        f"{_TORCH} For scikit-learn: skl2onnx.to_onnx(model, example_inputs).",
        _begins(*(bytes([0x80, protocol]) for protocol in range(2, 6))),
    ),
    Format("weights in safetensors", f"{_TORCH} Of transformers: optimum-cli export onnx.", _is_safetensors),
    Format(
        "a model of TensorFlow Lite",
        "Convert it with: python -m tf2onnx.convert --tflite {path} --output model.onnx",
        lambda start: start[4:8] == b"TFL3",
    ),
    Format("a model or weights in HDF5, as Keras writes it", _KERAS, _begins(b"\x89HDF\r\n\x1a\n")),
    Format("a language model in GGUF", "Export the model that it was made of to ONNX.", _begins(b"GGUF")),
    # Operators or tags of a graph, where the description of a Core ML model has the name of an input.
    Format(
        "a saved model of TensorFlow",
        "Convert its folder with: python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
        _matches(rb'\x08\x01\x12[\x80-\xff]*[\0-\x7f]\n[\x80-\xff]*[\0-\x7f][\x12"]'),
    ),
    Format(
        "a saved model of TensorFlow",
        "Convert it with: python -m tf2onnx.convert --saved-model {path} --output model.onnx",
        holds="saved_model.pb",
    ),
    Format(
        "a model of transformers", "Convert it with: optimum-cli export onnx --model {path} OUT", holds="*.safetensors"
    ),
    Format("ONNX models", "Give the path of one of its files.", holds="*.onnx"),
    Format(
        "a model of Core ML",
        _CORE_ML,
        _matches(rb"\x08[\x01-\x20]\x12[\x80-\xff]{0,2}[\0-\x7f]\n"),
        (".mlmodel",),
    ),
    Format(
        "a model in the format of onnxruntime",
        "Give the .onnx file it was made of.",
        lambda start: start[4:8] == b"ORTM",
    ),
    Format("an engine of TensorRT", "Give the model that it was made of.", _begins(b"ftrt", b"ptrt")),
    Format(
        "a model of PaddlePaddle",
        "Convert it with: paddle2onnx --model_dir FOLDER --model_filename {path} --save_file model.onnx",
        endings=(".pdmodel",),
    ),
    Format("an ONNX model as text", _ONNX_TEXT.format("textproto"), _matches(rb"(\s|#.*\n)*ir_version:")),
    Format("an ONNX model as text", _ONNX_TEXT.format("json"), _matches(rb'\s*\{\s*"(irVersion|ir_version)"')),
    Format("an ONNX model as text", _ONNX_TEXT.format("onnxtxt"), _matches(rb"\s*<\s*ir_version:")),
    Format("a model of Caffe", "Convert it to ONNX first.", endings=(".caffemodel", ".prototxt")),
    Format(
        "a container of models of the kp API",
        "Give the model that it was made of; tilewright inspect shows what is in it.",
        endings=(".nef",),
    ),
    Format(
        "the weights of an ONNX model",
        "Give the .onnx file that belongs to them.",
        endings=(".onnx.data", ".onnx_data", ".onnx.bin"),
    ),
    Format("an archive", "Unpack it first.", _begins(b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zXZ")),
    Format("an archive", "Unpack it first.", lambda start: start[257:262] == b"ustar"),
    Format("a picture", "Pictures are inputs, or calibration data.", _begins(b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    Format(
        "a network of the Inference Engine",
        "Give its name the ending .xml, and the name of its weights beside it the ending .bin.",
        _matches(rb"\s*(<\?xml[^>]*>)?\s*<net\s"),
    ),
    Format(
        "a frozen graph of TensorFlow",
        "Convert it with: python -m tf2onnx.convert --graphdef {path} --inputs X:0 --outputs Y:0 --output model.onnx",
        lambda start: start.startswith(b"\x0a") and re.search(rb"\x12(\x05Const|\x0bPlaceholder)", start) is not None,
    ),
    Format("a Tilewright artifact", "Run it with `tilewright run`.", _begins(b"\x89TWA")),
    Format("a module as text", _MODULE, lambda start: start.startswith(b"module ") and is_text(start)),
    Format("a text", "Models are .onnx or .xml files, artifacts .twa files.", is_text),
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
