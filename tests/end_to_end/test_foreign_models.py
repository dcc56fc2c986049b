"""Models in formats that are not read are named for what they are, by what is in them, with what converts them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from tilewright.__main__ import main
from tilewright.errors import TilewrightError
from tilewright.runtime.api.inference_engine import IENetwork


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            # Written at a second whose byte is that of a new line.
            file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 20)), bytes(100))
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes([0, 0, 128, 255] * 2)


FILES = {
    "empty": (b"", "empty", "Download or export it again."),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "a pointer of Git LFS",
        "`git lfs pull` fetches the file itself.",
    ),
    "torchscript": (
        archive("net/code/__torch__.py", "net/data.pkl", "net/constants.pkl"),
        "a model in TorchScript",
        "torch.onnx.export(torch.jit.load('{path}'), example_inputs, 'model.onnx').",
    ),
    "pt": (archive("net/data.pkl", "net/data/0"), "weights or a model of PyTorch", "torch.onnx.export(model, "),
    "small_pt": (
        archive("net/data.pkl", "net/byteorder", "net/data/0", "net/version"),
        "weights or a model of PyTorch",
        "torch.onnx.export(model, ",
    ),
    "old_torchscript": (archive("net/version", "net/data.pkl"), "a model in TorchScript", "torch.jit.load("),
    "old_pth": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "weights or a model of PyTorch",
        "torch.onnx.export(model, ",
    ),
    "keras": (
        archive("metadata.json", "config.json", "model.weights.h5"),
        "a model of Keras",
        "keras.models.load_model('{path}').export('model.onnx', format='onnx').",
    ),
    "safetensors": (safetensors(), "weights in safetensors", "optimum-cli export onnx."),
    "tflite": (
        b"\x1c\x00\x00\x00TFL3\x14\x00\xff" + bytes(99),
        "a model of TensorFlow Lite",
        "python -m tf2onnx.convert --tflite {path} --output model.onnx",
    ),
    "h5": (
        b"\x89HDF\r\n\x1a\n" + bytes(99),
        "a model or weights in HDF5, as Keras writes it",
        "keras.models.load_model('{path}')",
    ),
    "gguf": (
        b"GGUF\x03\x00\x00\x00\xff" + bytes(99),
        "a language model in GGUF",
        "Export the model that it was made of",
    ),
    "saved_model": (
        b"\x08\x01\x12\xff\x81\x02\x0a\xd9\x12\x12\xb5\x10\x0a\x58\x0a\x05AddV2" + bytes(99),
        "a saved model of TensorFlow",
        "python -m tf2onnx.convert --saved-model FOLDER",
    ),
    "tags_of_saved_model": (
        b"\x08\x01\x12\x7f\x0a\x07\x22\x05serve\x12\x70" + bytes(99),
        "a saved model of TensorFlow",
        "python -m tf2onnx.convert --saved-model FOLDER",
    ),
    "graph": (
        b"\x0a\x19\x0a\x05input\x12\x0bPlaceholder\xff\xfe" + bytes(99),
        "a frozen graph of TensorFlow",
        "python -m tf2onnx.convert --graphdef {path} --inputs",
    ),
    "pickle": (pickle.dumps({"coefficients": [1.0]}), "a pickled object of Python", "skl2onnx.to_onnx(model, "),
    "npz": (archive("a.npy", "b.npy"), "an archive of NumPy", "Arrays are inputs, of `tilewright run`, "),
    "npy": (b"\x93NUMPY\x01\x00v\x00" + bytes(99), "an array of NumPy", "a network is an .onnx file."),
    "core_ml_package": (
        archive("net.mlpackage/Manifest.json"),
        "a package of Core ML",
        "Export the network that it was made of to ONNX.",
    ),
    "old_core_ml": (b"\x08\x01\x12\x85\x01\n\x0c\n\x05image" + bytes(99), "a model of Core ML", "to ONNX."),
    "core_ml": (b"\x08\x04\x12\x85\x01\n\x0c\n\x05image" + bytes(99), "a model of Core ML", "to ONNX."),
    "ort": (
        b"\x1c\x00\x00\x00ORTM" + bytes(99),
        "a model in the format of onnxruntime",
        "Give the .onnx file",
    ),
    "tensorrt": (b"ftrt" + bytes(99), "an engine of TensorRT", "Give the model that it was made of."),
    "zip": (archive("net/model.onnx"), "an archive", "Unpack it first."),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(99), "an archive", "Unpack it first."),
    "gzip": (gzip.compress(bytes(99)), "an archive", "Unpack it first."),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture", "Pictures are inputs"),
    "ir": (
        b'<?xml version="1.0"?>\n<net name="a" version="10">\n',
        "a network of the Inference Engine",
        "the ending .xml",
    ),
    "onnx_textproto": (b"ir_version: 8\ngraph {\n}\n", "an ONNX model as text", "format='textproto'), 'model.onnx')."),
    "onnx_commented": (b"# Made by hand.\n\nir_version: 8\n", "an ONNX model as text", "format='textproto'), "),
    "onnx_json": (b'{\n  "irVersion": "8"\n}', "an ONNX model as text", "format='json'), 'model.onnx')."),
    "onnx_json_of_onnx": (b'{\n  "ir_version": "8"\n}', "an ONNX model as text", "format='json'), 'model.onnx')."),
    "onnx_script": (b"<\n   ir_version: 8,\n", "an ONNX model as text", "format='onnxtxt'), 'model.onnx')."),
    "text": ("# Étude\nThe model.\n".encode(), "a text", "Models are .onnx or .xml files, "),
}

NAMED = {
    "model.onnx.data": ("the weights of an ONNX model", "Give the .onnx file that belongs to them."),
    "model.onnx_data": ("the weights of an ONNX model", "Give the .onnx file that belongs to them."),
    "net.pdmodel": ("a model of PaddlePaddle", "--model_filename {path} --save_file model.onnx"),
    "net.prototxt": ("a model of Caffe", "Convert it to ONNX first."),
    "net.caffemodel": ("a model of Caffe", "Convert it to ONNX first."),
    "net.NEF": ("a container of models of the kp API", "tilewright inspect shows what is in it."),
}
"""Files that nothing but their names tells of, with weights in them."""

FOLDERS = {
    "saved_model.pb": ("a saved model of TensorFlow", "--saved-model {path} --output model.onnx"),
    "Manifest.json": ("a package of Core ML", "Export the network that it was made of to ONNX."),
    "model.safetensors": ("a model of transformers", "optimum-cli export onnx --model {path} OUT"),
    "net.onnx": ("ONNX models", "Give the path of one of its files."),
}
"""Folders by a file in them."""


@pytest.mark.parametrize("name", NAMED)
def test_files_are_known_by_their_names(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called, advice = NAMED[name]
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 4)
    for command in ("compile", "run", *(["inspect"] if name != "net.NEF" else [])):
        assert main([command, str(path)]) == 1, command
        message = capsys.readouterr().err
        assert f" is {called}, no " in message
        assert advice.format(path=path) in message


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_known_by_what_they_hold(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called, advice = FOLDERS[name]
    (tmp_path / name).write_bytes(b"")
    for command in ("compile", "inspect", "run"):
        assert main([command, str(tmp_path)]) == 1, command
        message = capsys.readouterr().err
        assert f"cannot read '{tmp_path}': it is a folder, of {called}. " in message
        assert advice.format(path=tmp_path) in message


def test_an_xml_file_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.xml"
    path.write_bytes(FILES["tflite"][0])
    assert main(["compile", str(path)]) == 1
    assert f"'{path}' is a model of TensorFlow Lite, no .xml file of a network" in capsys.readouterr().err


@pytest.mark.parametrize("name", FILES)
def test_every_command_names_them(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, called, advice = FILES[name]
    for path, commands in (
        (tmp_path / "m.onnx", ("compile", "inspect", "opt", "export")),
        (tmp_path / "m.bin", ("compile", "inspect", "run", "simulate")),
    ):
        path.write_bytes(content)
        for command in commands:
            more = {"opt": ["--passes", "fuse"], "export": ["-o", str(tmp_path / "o.onnx")]}.get(command, [])
            assert main([command, str(path), *more]) == 1, command
            message = capsys.readouterr().err
            assert f" is {called}, no " in message
            assert advice.format(path=path) in message


def test_the_inference_engine_names_them(tmp_path: Path) -> None:
    for name, (content, called, _) in FILES.items():
        if name in ("ir", "onnx_script"):
            continue  # It reads those by whatever name, and takes what begins with < for one.
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match=f" is {called}, no ONNX model") as caught:
            IENetwork(str(path))
        assert isinstance(caught.value, TilewrightError)


@pytest.mark.parametrize("ending", [b"\xff", b""], ids=["no text", "characters"])
def test_a_module_as_text_is_asked_for_too(ending: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + ending)
    assert main(["opt", str(path), "--passes", "fuse"]) == 1
    assert f"'{path}' is a language model in GGUF, no module. " in capsys.readouterr().err
