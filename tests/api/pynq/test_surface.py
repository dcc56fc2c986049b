"""The parts of PYNQ that the application uses: buffers, overlays, the kernel and its errors, devices, rails."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tilewright.compiler.weights import last_layer
from tilewright.errors import ArtifactError, InputError, UsageError
from tilewright.runtime.api.pynq import DataRecorder, Device, Overlay, PynqBuffer, allocate
from tilewright.runtime.api.pynq import kernel as kernel_module
from tilewright.runtime.api.pynq.pmbus import Sensor, get_xrt_sysfs_rails
from tilewright.runtime.artifact.artifact import Artifact

from .conftest import DIGITS, PIXEL, Task

WEIGHTS = np.zeros((1, 1), np.int8)
pytestmark = pytest.mark.filterwarnings("ignore::tilewright.runtime.api.pynq.kernel.WeightsWarning")


@pytest.fixture
def overlay(task: Task) -> Overlay:
    return Overlay(task.artifact)


def pictures(count: int) -> PynqBuffer:
    """The first digits as three equal channels."""
    buffer = allocate((count, 8, 8, 3), np.int8)
    buffer[:] = (DIGITS.images[:count, 0, :, :, None] * PIXEL).astype(np.uint8)
    return buffer


def test_buffers_hold_bytes_and_are_shared() -> None:
    buffer = allocate((2, 4), dtype=np.int8, target="bank0")
    assert (type(buffer), buffer.dtype, buffer.tolist()) == (PynqBuffer, np.int8, [[0] * 4] * 2)
    buffer[1] = np.array([0, 127, 128, 255], np.uint8)
    assert buffer[1].tolist() == [0, 127, -128, -1]
    base = buffer[:1].base
    assert isinstance(base, PynqBuffer)
    for each in (buffer, base):
        each.sync_to_device()
        each.sync_from_device()
    buffer.freebuffer()
    assert allocate(3).dtype == np.uint32


def test_the_kernel_classifies(overlay: Overlay, task: Task) -> None:
    images, classes = pictures(5), allocate((6, 5), np.uint32)
    overlay.resnet50_1.call(images, classes, WEIGHTS, 4)
    assert [row.tolist() for row in classes[:4]] == [task.classes[f"{index}.png"] for index in range(4)]
    assert not classes[4:].any()


def test_either_layout_and_either_sign(overlay: Overlay) -> None:
    images, classes = pictures(3), np.zeros((3, 3, 5), np.uint32)
    kernel = overlay.resnet50_1
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    for given, found in zip((images, images.view(np.uint8), planes), classes, strict=True):
        kernel.call(given, found, WEIGHTS, 3)
    assert classes[0].any()
    assert (classes == classes[0]).all()


def test_a_call_copies_its_images_and_ends_when_it_is_waited_for(overlay: Overlay, task: Task) -> None:
    images, first, second = pictures(2), allocate((2, 5), np.uint32), allocate((2, 5), np.uint32)
    kernel = overlay.resnet50_1
    handles = [kernel.start(images, first, WEIGHTS, 2)]
    images[:] = images[::-1].copy()
    handles.append(kernel.start(images, second, WEIGHTS, 2))
    images[:] = 0
    for handle in reversed(handles):
        handle.wait()
        assert handle.done
    assert first.tolist() == second[::-1].tolist() == [task.classes["0.png"], task.classes["1.png"]]


def test_no_images_are_no_mistake(overlay: Overlay) -> None:
    classes = allocate((2, 5), np.uint32)
    handle = overlay.resnet50_1.start(pictures(2), classes, WEIGHTS, 0)
    handle.wait()
    assert handle.done
    assert not classes.any()


def test_registers_tell_of_the_last_call(overlay: Overlay) -> None:
    kernel, images, classes = overlay.resnet50_1, pictures(2), allocate((2, 5), np.uint32)
    assert "numReps = Register(value=0)" in repr(kernel.register_map)
    kernel.call(images, classes, WEIGHTS, 2)
    assert (kernel.register_map.numReps, kernel.register_map.in_r) == (2, images.ctypes.data)
    assert repr(kernel.register_map).splitlines()[0] == "RegisterMap {"


@pytest.mark.parametrize(
    ("images", "count", "found"),
    [
        (np.zeros((2, 8, 8, 3), np.int8), 3, "int8[2, 8, 8, 3] for 3 images"),
        (np.zeros((2, 8, 8, 3), np.int8), -1, "int8[2, 8, 8, 3] for -1 images"),
        (np.zeros((2, 8, 8, 4), np.int8), 1, "int8[2, 8, 8, 4] for 1 images"),
        (np.zeros((8, 8, 3), np.int8), 1, "int8[8, 8, 3] for 1 images"),
        (np.zeros((2, 8, 8, 3), np.float32), 1, "float32[2, 8, 8, 3] for 1 images"),
        (np.zeros((2, 0, 8, 3), np.int8), 1, "int8[2, 0, 8, 3] for 1 images"),
        (np.zeros((2, 8, 8, 3), np.int8), 1.5, "int8[2, 8, 8, 3] for 1.5 images"),
        (None, 1, "NoneType for 1 images"),
    ],
)
def test_wrong_buffers_of_images(overlay: Overlay, images: np.ndarray, count: int, found: str) -> None:
    with pytest.raises(InputError) as caught:
        overlay.resnet50_1.call(images, allocate((9, 5)), WEIGHTS, count)
    expected = "int8[n, height, width, 3] with n of at least the count of images"
    assert str(caught.value) == f"the kernel cannot read this buffer of images; expected {expected}, found {found}"


@pytest.mark.parametrize("classes", [np.zeros((1, 5), np.uint32), np.zeros((2, 4), np.uint32), np.zeros((2, 5))])
def test_wrong_buffers_of_classes(overlay: Overlay, classes: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"cannot write its results to this buffer; expected uint32\[n, 5\] with n"):
        overlay.resnet50_1.call(pictures(2), classes, WEIGHTS, 2)


@pytest.mark.parametrize("weights", [None])
def test_weights_that_are_no_array(overlay: Overlay, weights: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        overlay.resnet50_1.call(pictures(1), allocate((1, 5)), weights, 1)
    assert str(caught.value) == "the kernel cannot read its weights; expected int8[outputs, inputs], found NoneType"


def test_an_overlay_that_was_freed(overlay: Overlay) -> None:
    overlay.free()
    with pytest.raises(UsageError, match="the overlay was freed"):
        overlay.resnet50_1.call(pictures(1), allocate((1, 5)), WEIGHTS, 1)


def test_a_file_that_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "resnet50.xclbin").write_bytes(b"xclbin2" * 100)
    with pytest.raises(ArtifactError):
        Overlay(tmp_path / "resnet50.xclbin")
    with pytest.raises(ArtifactError):
        Overlay(tmp_path / "absent.xclbin")


@pytest.mark.parametrize("bank", ["bank0", "PLRAM0", "HBM18", "DDR", "PLRAM[0]"])
def test_banks_are_attributes(overlay: Overlay, bank: str) -> None:
    assert allocate((1,), np.int8, target=getattr(overlay, bank)).shape == (1,)


def test_what_an_overlay_lacks(overlay: Overlay) -> None:
    with pytest.raises(AttributeError, match="'Overlay' object has no attribute 'resnet50_2'"):
        _ = overlay.resnet50_2


def test_weights_are_made_ready_when_they_are_moved_to_the_card(
    overlay: Overlay, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = last_layer(Artifact.open(task.artifact), "software").weights
    weights = allocate(own.shape, np.int8, target=overlay.PLRAM0)
    weights[:] = np.roll(own, 3, 0)
    weights.sync_to_device()
    for other in (allocate((3, 4), np.int8, target=overlay.bank0), allocate((3, 8, 8, 3), np.int8, overlay.bank0)):
        other.sync_to_device()
    monkeypatch.setattr(kernel_module, "with_last_layer", None)
    images, classes = pictures(5), allocate((5, 5), np.uint32)
    overlay.resnet50_1.call(images, classes, weights, 5)
    assert [row.tolist() for row in classes] != [task.classes[f"{index}.png"] for index in range(5)]
    weights[:] = 0
    with pytest.raises(TypeError):
        overlay.resnet50_1.call(images, classes, weights, 5)
    overlay.free()
    weights.sync_to_device()


def test_devices(task: Task) -> None:
    assert [device.name for device in Device.devices] == ["xilinx_u250_xdma_201830_2"]
    assert Device.active_device is Device.devices[0]
    other = Device("other")
    assert Overlay(task.artifact).device is Device.devices[0]
    try:
        Device.active_device = other
        assert Overlay(task.artifact).device is other
        assert Overlay(str(task.artifact), Device.devices[0]).device is Device.devices[0]
    finally:
        Device.active_device = Device.devices[0]


def test_rails_draw_more_while_something_runs(task: Task) -> None:
    overlay = Overlay(task.artifact, Device("one"))
    rails = get_xrt_sysfs_rails(overlay.device)
    assert [*rails] == ["12v_aux", "12v_pex", "vccint"]
    sensor = rails["vccint"].power
    idle = sensor.value
    images, classes = pictures(20), allocate((20, 5), np.uint32)
    for _ in range(10):
        overlay.resnet50_1.call(images, classes, WEIGHTS, 20)
    assert sensor.value > idle > 0
    assert rails["12v_aux"].power.name == "12v_aux_power"
    assert "modelled" in repr(sensor)


def test_a_recorder_samples_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    sensors = [rail.power for rail in get_xrt_sysfs_rails(Device("one")).values()]
    recorder = DataRecorder(*sensors)
    with recorder.record(0.001):
        while not len(samples(recorder)):
            pass
    frame = samples(recorder)
    assert frame.dtype.names == ("12v_aux_power", "12v_pex_power", "vccint_power")
    assert (frame["vccint_power"] > 0).all()
    recorder.reset()
    assert len(samples(recorder)) == 0


def samples(recorder: DataRecorder) -> np.ndarray:
    frame = recorder.frame
    assert isinstance(frame, np.ndarray)
    return frame


def test_pandas_gets_a_table_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = ModuleType("pandas")
    vars(pandas)["DataFrame"] = lambda values, index, columns: (values.shape[1], [*index], columns)
    vars(pandas)["to_datetime"] = lambda times, unit: times
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    sensor = get_xrt_sysfs_rails(Device("one"))["vccint"].power
    assert isinstance(sensor, Sensor)
    assert DataRecorder(sensor).frame == (1, [], ["vccint_power"])
