"""Programs for the kp API: unedited, under ``tilewright.compat``, with the numbers of `tilewright.load`."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import kp_pixels as slow
import numpy as np
import pytest
from compat_programs import PROGRAMS, Arrays, Programs, lay_out, read_arrays
from kp_networks import ID, float_detector
from PIL import Image

import tilewright
from tilewright.runtime.api import kp
from tilewright.runtime.api.kp import members as value_base
from tilewright.runtime.containers.files import container_bytes
from tilewright.runtime.containers.records import ContainedModel

RGB565, KNERON = kp.ImageFormat.KP_IMAGE_FORMAT_RGB565, kp.NormalizeMode.KP_NORMALIZE_KNERON
DEVICES = ["KL520", "KL720"]
PORTS = {"KL520": 1, "KL720": 2}


@dataclass(frozen=True)
class Models:
    """A network in containers.

    Attributes:
        folder: where they are, by the name of the device.
        contained: the network.
        session: of its artifact.
    """

    folder: Path
    contained: ContainedModel
    session: tilewright.Session

    def file(self, device: str) -> Path:
        return self.folder / f"{device}.nef"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.contained.inputs[0].shape

    def nodes(self, values: np.ndarray) -> list[np.ndarray]:
        """float32 of each output for int8[1, 3, height, width]."""
        found = self.session.run({self.contained.inputs[0].name: values})
        return [
            (found[node.name].astype(np.float64) / (node.scale * 2.0**node.radix)).astype(np.float32)
            for node in self.contained.outputs
        ]


def made_of(folder: Path, model: Path, **options: Any) -> Models:
    first, second = DEVICES
    file = folder / f"{first}.nef"
    container = tilewright.compile_container(model, kp_id=ID, kp_target=first, output=file, **options)
    contained = container.models[0]
    (folder / f"{second}.nef").write_bytes(container_bytes([contained], second, container.toolchain))
    return Models(folder, contained, tilewright.load(contained.artifact, engine="software"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("kp_models")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (8, 3, 64, 64)).astype(np.float32)
    return made_of(folder, float_detector(folder / "detector.onnx"), calibration=samples, kp_radix=8)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return lay_out("kp", tmp_path)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A smooth picture in blue, green and red, larger than the network's input."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (10, 12, 3), np.uint8)
    file = tmp_path / "picture.npy"
    np.save(file, slow.resize(coarse, 92, 80))
    return file


def pixels_565(picture: np.ndarray) -> np.ndarray:
    """A picture in blue, green, red as the device sees it: red, green, blue without their last bits."""
    return picture[..., ::-1] & np.array([0xF8, 0xFC, 0xF8], np.uint8)


def placed(picture: np.ndarray, shape: tuple[int, ...], *, symmetric: bool = False) -> np.ndarray:
    """A picture in the input of a network: resized, padded, normalised."""
    height, width = shape[2:]
    fitted = slow.fit(picture.shape[1], picture.shape[0], width, height)
    left, top = ((width - fitted[0]) // 2, (height - fitted[1]) // 2) if symmetric else (0, 0)
    found = np.zeros((height, width, 3), np.uint8)
    resized = picture if picture.shape[:2] == fitted[::-1] else slow.resize(picture, *fitted)
    found[top : top + fitted[1], left : left + fitted[0]] = resized
    return slow.input_of(found, KNERON)


def assert_nodes(found: Arrays, expected: list[np.ndarray], prefix: str = "") -> None:
    for index, array in enumerate(expected):
        assert found[f"{prefix}node{index}"].dtype == np.float32
        assert found[f"{prefix}node{index}"].tobytes() == array.tobytes()


def test_generic(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "fw_scpu.bin").write_bytes(b"vendor")
    (tmp_path / "fw_ncpu.bin").write_bytes(b"vendor")
    firmware = ("--firmware", tmp_path / "fw_scpu.bin", tmp_path / "fw_ncpu.bin")
    output = tmp_path / "found.npz"
    shown = programs.run("generic.py", models.file("KL520"), picture, output, *firmware, fresh=True)
    assert_nodes(read_arrays(output), models.nodes(placed(pixels_565(np.load(picture)), models.shape)))
    assert shown.count("fixed and floating point agree: True") == len(models.contained.outputs)
    assert "Warning" not in shown
    assert ". . .".replace(" ", "") in shown
    found, _ = json.JSONDecoder().raw_decode(shown[shown.index("[Result]") + len("[Result]\n") :])
    assert [node["num_data"] for node in found] == [21 * 32 * 32, 21 * 16 * 16]


def test_a_device_at_another_port(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    """Which is not a KL520."""
    shown = programs.run("generic.py", "-p", 2, models.file("KL520"), picture, tmp_path / "found.npz")
    assert "[Warning] Device is not run at high speed." in shown
    assert "KP_ERROR_INVALID_MODEL_21" in shown
    assert "expected KL720, found KL520" in shown
    shown = programs.run("generic.py", "-p", 28, models.file("KL520"), picture, tmp_path / "found.npz")
    assert "Specified USB port ID 28 not exist" in shown


def test_files_that_are_missing(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.bin"
    shown = programs.run("generic.py", missing, picture, tmp_path / "found.npz")
    assert "Error: upload model failed" in shown
    assert "KP_ERROR_FILE_OPEN_FAILED_20" in shown
    firmware = ("--firmware", missing, missing)
    shown = programs.run("generic.py", models.file("KL520"), picture, tmp_path / "found.npz", *firmware)
    assert "Error: upload firmware failed" in shown


@pytest.fixture
def post_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module by which the programs make boxes."""
    for name in ("kp", "kp.KPBaseClass", "kp.KPBaseClass.ValueBase"):
        monkeypatch.setitem(sys.modules, name, value_base if "." in name else kp)
    specification = importlib.util.spec_from_file_location("postprocess", PROGRAMS / "kp" / "utils" / "postprocess.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    yield module


def test_boxes(models: Models, programs: Programs, picture: Path, tmp_path: Path, post_process: ModuleType) -> None:
    output = tmp_path / "found.npz"
    shown = programs.run("post_yolo.py", "-p", 2, models.file("KL720"), picture, output)
    found = read_arrays(output)
    image = np.load(picture)
    expected = models.nodes(placed(pixels_565(image), models.shape, symmetric=True))
    assert_nodes(found, expected)
    nodes = [
        kp.InferenceFloatNodeOutput(array.shape[3], array.shape[2], array.shape[1], array.size, array)
        for array in expected
    ]
    info = kp.HwPreProcInfo(92, 80, 64, 55, 4, 5, 0, 0, 64, 64)
    boxes = post_process.post_process(nodes, info, 0.2).box_list
    assert len(boxes) > 3
    assert found["boxes"].tolist() == [[b.x1, b.y1, b.x2, b.y2, b.score, b.class_num] for b in boxes]
    account, _ = json.JSONDecoder().raw_decode(shown[shown.index("{") :])
    assert {name: value for name, value in account.items() if name != "crop_area"} == {
        name: value for name, value in info.get_member_variable_dict().items() if name != "crop_area"
    }


def test_boxes_on_a_slow_device(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    shown = programs.run("post_yolo.py", models.file("KL520"), picture, tmp_path / "found.npz")
    assert "[Error] Device is not run at super speed." in shown


@pytest.mark.parametrize("device", DEVICES)
def test_bypass(device: str, models: Models, programs: Programs, tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.integers(-128, 128, models.shape).astype(np.int8)
    buffer = np.zeros((64, 64, 4), np.int8)
    buffer[..., :3] = values[0].transpose(1, 2, 0)
    (tmp_path / "normalized.bin").write_bytes(buffer.tobytes())
    arguments = (models.file(device), tmp_path / "normalized.bin", tmp_path / "found.npz")
    programs.run("bypass.py", "-p", PORTS[device], *arguments)
    assert_nodes(read_arrays(tmp_path / "found.npz"), models.nodes(values))


def test_crop(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    shown = programs.run("crop.py", "-p", 2, models.file("KL720"), picture, tmp_path / "found.npz")
    found, whole = read_arrays(tmp_path / "found.npz"), pixels_565(np.load(picture))
    for index, (x, y, width, height) in enumerate(((30, 20, 41, 37), (3, 5, 80, 70))):
        part = whole[y : y + height, x : x + width]
        assert_nodes(found, models.nodes(placed(part, models.shape)), f"box{index} ")
        assert f"result of box {index} at {x} {y} {width} {height}" in shown


@pytest.mark.parametrize("device", DEVICES)
def test_threads(device: str, models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    arguments = (models.file(device), picture, tmp_path / "found.npz")
    shown = programs.run("threads.py", "-p", PORTS[device], *arguments)
    assert "Total inference 100 images" in shown
    assert "Error" not in shown
    assert_nodes(read_arrays(tmp_path / "found.npz"), models.nodes(placed(pixels_565(np.load(picture)), models.shape)))


@pytest.mark.parametrize("options", [(), ("--drop_frames",), ("--wait", 0.02)])
def test_camera(options: tuple[object, ...], models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.npz"
    shown = programs.run("camera.py", models.file("KL520"), picture, output, "--timeout", 2000, *options)
    assert "in order True" in shown
    found, image = read_arrays(output), np.load(picture)
    assert len(found["numbers"]) >= 20
    if "--drop_frames" not in options:
        assert found["numbers"].tolist() == list(range(len(found["numbers"])))
    shown_last = image if found["numbers"][-1] % 2 == 0 else image[::-1]
    assert_nodes(found, models.nodes(placed(pixels_565(shown_last), models.shape)))


def test_model_from_flash(models: Models, picture: Path, tmp_path: Path) -> None:
    devices = f"KL520;KL720,port=14,flash={models.file('KL720')}"
    programs = lay_out("kp", tmp_path, TILEWRIGHT_KP_DEVICES=devices)
    programs.run("flash_model.py", "-p", 14, picture, tmp_path / "found.npz")
    expected = models.nodes(placed(pixels_565(np.load(picture)), models.shape))
    assert_nodes(read_arrays(tmp_path / "found.npz"), expected)
    shown = programs.run("flash_model.py", picture, tmp_path / "found.npz")
    assert "KP_FW_LOAD_MODEL_FAILED_104" in shown


def test_a_parser_of_its_own(models: Models, programs: Programs, picture: Path, tmp_path: Path) -> None:
    shown = programs.run("own_parser.py", "-p", 2, models.file("KL720"), picture, tmp_path / "found.npz")
    assert "radix 8" in shown
    pixels = np.load(picture)[:64, :64, ::-1]
    values = np.ascontiguousarray((pixels.astype(int) - 128).astype(np.int8).transpose(2, 0, 1)[None])
    assert_nodes(read_arrays(tmp_path / "found.npz"), models.nodes(values))


def test_several_devices(models: Models, picture: Path, tmp_path: Path) -> None:
    programs = lay_out("kp", tmp_path, TILEWRIGHT_KP_DEVICES="KL720;KL720,port=9;KL720")
    shown = programs.run("several_devices.py", models.file("KL720"), picture, tmp_path / "found.npz")
    assert "3 devices, 12 images" in shown
    found, image = read_arrays(tmp_path / "found.npz"), np.load(picture)
    for number in (0, 5, 11):
        rolled = pixels_565(np.roll(image, number, axis=1))
        assert_nodes(found, models.nodes(placed(rolled, models.shape)), f"image{number} ")


def test_a_real_network(data_folder: Path, programs: Programs, tmp_path: Path) -> None:
    """A classification network that comes quantised, on a photo."""
    models = made_of(tmp_path, data_folder / "models" / "mobilenet_v1_0.25_128_qdq.onnx")
    photo = next((data_folder / "images" / "imagenet500").glob("*tench*"))
    image = np.asarray(Image.open(photo).convert("RGB").resize((160, 120)))
    np.save(tmp_path / "picture.npy", image[..., ::-1])
    expected = models.nodes(placed(pixels_565(image[..., ::-1]), models.shape))
    for device in DEVICES:
        arguments = (models.file(device), tmp_path / "picture.npy", tmp_path / f"{device}.npz")
        programs.run("generic.py", "-p", PORTS[device], *arguments)
        assert_nodes(read_arrays(tmp_path / f"{device}.npz"), expected)
