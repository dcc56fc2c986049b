"""The best class of photos by the Accelerator API, without any calibration, against floating point by onnxruntime."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from real_inputs import ImageNet

from tilewright.errors import CalibrationWarning
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.network import CALIBRATION, ENGINE
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.pictures.preprocessing import Preprocessing

PHOTOS = 100
AGREEMENT = 0.95
AS_TRAINED = Preprocessing.of("resize=shorter,mean=127.5,scale=1/127.5")


@pytest.fixture(autouse=True)
def nothing_calibrates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CALIBRATION, raising=False)
    monkeypatch.delenv(ENGINE, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_v1_0.25_128_f32", 128),
        pytest.param("mobilenet_v2_1.0_224_f32", 224, marks=pytest.mark.sweep),
    ],
)
def test_the_best_class_without_calibration(data_folder: Path, name: str, size: int) -> None:
    model = data_folder / "models" / f"{name}.onnx"
    image = TensorSpec("input", "f32", (1, 3, size, size))
    photos = ImageNet(AS_TRAINED)(data_folder, [image])
    images = [sample.inputs["input"] for sample in islice(photos, 0, 5 * PHOTOS, 5)]
    reference = onnxruntime.InferenceSession(model)
    expected = [np.argmax(np.asarray(reference.run(None, {"input": image})[0])) for image in images]

    second, third = FWDNXT(), MDLA()
    with pytest.warns(CalibrationWarning, match="Give samples of its inputs"):
        count = second.Compile(f"{size}x{size}x3", str(model), "save.bin")
    assert isinstance(count, int)
    second.Init("save.bin", "")
    third.Compile(str(model))
    agreeing = np.zeros(2)
    for image, best in zip(images, expected, strict=True):
        result = np.ndarray(count, np.float32)
        second.Run(image[0], result)
        agreeing += [np.argmax(each) == best for each in (result, np.asarray(third.Run(image)))]
    assert len(images) == PHOTOS
    assert np.all(agreeing / PHOTOS >= AGREEMENT), agreeing
