"""Encodings give the ranges that samples would: the same scales and zero points again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from encodings_files import Grid, asymmetric, write
from network_files import partly_quantized_model
from simulation_oracle import NodeByNode

import tilewright
from tilewright.compiler.calibration.ranges import encoded_ranges
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import InputError, NoCalibrationError, UsageError
from tilewright.ir.core import Module
from tilewright.ir.types import DType

USED = ("stem_relu", "depthwise_clip", "pointwise_relu", "residual_relu", "average", "classifier")


@cache
def activations() -> dict[str, Grid]:
    digits = load_digits()
    images = digits.prepare(digits.calibration_images[:40])
    return NodeByNode(Path(MODEL)).grids([{"image": image[None]} for image in images], 8, per_channel=True)[0]


def grids_of(module: Module) -> dict[str, tuple[float, int]]:
    """Scales and lowest integers of 8-bit values, by name."""
    results = [value for op in module.ops for value in op.results]
    return {
        value.name: (value.type.quant.scale[0], -128 - value.type.quant.zero_point[0])
        for value in results
        if value.type.quant is not None and value.type.dtype is DType.I8
    }


@pytest.mark.parametrize("version", ["0.4.0", "0.6.1", "1.0.0", "2.0.0"])
def test_scales_and_zero_points_are_those_of_the_file(version: str, tmp_path: Path) -> None:
    file = write(tmp_path / "model.encodings", version, activations(), {})
    found = grids_of(quantize_module(import_onnx(MODEL), CompileOptions(encodings=file)))
    for name in USED:
        grid = activations()[name]
        scale, lowest = found[name]
        assert scale == pytest.approx(np.float32(grid.scale.item()), rel=2**-23)
        assert lowest == grid.offset.item()


def test_a_network_is_compiled_without_samples(tmp_path: Path) -> None:
    digits = load_digits()
    file = write(tmp_path / "model.encodings", "0.6.1", activations(), {})
    images = digits.prepare(digits.images[:100])
    with tilewright.load(tilewright.compile(MODEL, encodings=file), engine="software") as session:
        best = [session.run({"image": image[None]})["probabilities"].argmax() for image in images]
    assert (np.array(best) == digits.labels[:100]).mean() >= 0.95


def test_what_the_file_does_not_tell_comes_from_samples(tmp_path: Path) -> None:
    digits = load_digits()
    some = {"residual_relu": asymmetric(0, 100, 8), "stem_relu": asymmetric(0, 100, 16)}
    file = write(tmp_path / "model.encodings", "1.0.0", some, {})
    samples = digits.prepare(digits.calibration_images[:5])
    found = grids_of(quantize_module(import_onnx(MODEL), CompileOptions(encodings=file, calibration=samples)))
    assert found["residual_relu"][0] == pytest.approx(100 / 255, rel=1e-6)
    assert found["stem_relu"][0] < 10 / 255


def test_other_widths_and_channels_give_no_range(tmp_path: Path) -> None:
    some = {
        "x": asymmetric(-1, 2, 8),
        "y": asymmetric(-1, 2, 16),
        "z": Grid(8, np.array([1.0, 2.0]), np.array([0, 0]), axis=0),
        "other": asymmetric(-1, 2, 8),
    }
    file = write(tmp_path / "model.encodings", "0.6.1", some, {})
    scale, offset = some["x"].scale.item(), some["x"].offset.item()
    assert encoded_ranges(file, ["x", "y", "z"]) == {"x": (scale * offset, scale * (offset + 255))}


def test_ranges_that_nothing_tells(tmp_path: Path) -> None:
    few = {name: grid for name, grid in activations().items() if name not in ("stem_relu", "average")}
    file = write(tmp_path / "model.encodings", "0.6.1", few, {})
    with pytest.raises(NoCalibrationError) as caught:
        tilewright.compile(MODEL, encodings=file)
    assert str(caught.value) == (
        f"calibration: encodings file {str(file)!r} does not tell all ranges; expected 8-bit integers with one scale "
        "for each activation, found none for 'stem_relu', 'average'. Give --calibration FOLDER of images, a .npy, "
        ".npz, .csv or .wav file, or 'random' to try things out; or leave the network in floating point."
    )


def test_encodings_of_another_network(tmp_path: Path) -> None:
    file = write(tmp_path / "model.encodings", "0.6.1", {"stem": asymmetric(-1, 2, 8)}, {})
    with pytest.raises(InputError) as caught:
        tilewright.compile(MODEL, encodings=file, calibration="random")
    assert str(caught.value).startswith(
        f"calibration: {str(file)!r}: no encoding is for a tensor that is quantised; expected 'image', "
    )
    assert str(caught.value).endswith(", found 'stem'. Give the encodings that belong to this model.")


def test_encodings_without_use(tmp_path: Path) -> None:
    file = write(tmp_path / "model.encodings", "0.6.1", activations(), {})
    with pytest.raises(
        UsageError, match=r"--encodings is for precision int8; in fp32 the whole network runs on the CPU"
    ):
        tilewright.compile(MODEL, encodings=file, precision="fp32")
    artifact = tilewright.compile(partly_quantized_model(), encodings=file, engines="software")
    assert artifact.manifest.details["warnings"] == ["the model is already quantised: the encodings were not used"]
