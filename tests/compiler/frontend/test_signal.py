"""Transforms of all lengths against NumPy's, and frames and mel matrices against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import ModelError
from tilewright.ir import interp

LENGTHS = (1, 2, 9, 300, 521, 522, 1031, 4096)
"""As one product, split once and twice, a prime of moderate length, twice a prime, a prime that is convolved."""


def pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([np.real(z), np.imag(z)], -1)


def transformed(x: np.ndarray, length: int | None = None, opset: int = 20, **attributes: Any) -> np.ndarray:
    """DFT of x along its last dimension but one."""
    axis, size = np.array(-2), None if length is None else np.array(length)
    inputs = [x, size, axis] if opset >= 20 else [x, size]
    model = node_model("DFT", inputs, constants=(1, 2), opset=opset, **attributes)
    return interp.run(import_checked(model), {"x0": x})["y0"]


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("length", LENGTHS)
def test_transforms_of_all_lengths(length: int, rng: np.random.Generator) -> None:
    z = rng.standard_normal((2, length)) + 1j * rng.standard_normal((2, length))
    x = pairs(z).astype(np.float32)
    assert_close(transformed(x), pairs(np.fft.fft(z)))
    assert_close(transformed(x, inverse=1), pairs(np.fft.ifft(z)))
    assert_close(transformed(x[..., :1], onesided=1), pairs(np.fft.rfft(z.real)))
    half = np.fft.rfft(z.real)
    assert_close(transformed(pairs(half).astype(np.float32), length, inverse=1, onesided=1)[..., 0], z.real)


def test_signals_are_cut_and_filled_up(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 12, 1))
    for length in (5, 20):
        assert_close(transformed(x, length), pairs(np.fft.fft(x[..., 0], length)))
    halves = transformed(x.astype(np.float16))
    np.testing.assert_allclose(halves, pairs(np.fft.fft(x[..., 0])), atol=0.02)


def test_the_axis_was_an_attribute(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 6, 4, 1)).astype(np.float32)
    assert_close(transformed(x, opset=17), pairs(np.fft.fft(x[..., 0], axis=1)).astype(np.float32))


@pytest.mark.parametrize(
    ("length", "attributes", "words"),
    [
        (0, {}, "the length of the transform is out of range"),
        (2**40, {}, "the length of the transform is out of range"),
        (None, {"inverse": 1, "onesided": 1}, "half of a spectrum says all of it for real numbers only"),
    ],
)
def test_transforms_that_there_are_not(length: int | None, attributes: dict[str, int], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        transformed(np.zeros((1, 4, 1), np.float32), length, **attributes)


@pytest.mark.parametrize(("samples", "length", "step", "parts"), [(128, 16, 8, 1), (64, 32, 30, 2), (64, 64, 3, 1)])
def test_frames(samples: int, length: int, step: int, parts: int, rng: np.random.Generator) -> None:
    signal = rng.standard_normal((2, samples, parts)).astype(np.float32)
    window, size = rng.uniform(0, 1, length).astype(np.float32), np.array(length)
    for onesided in {0, parts % 2}:
        for inputs, constants in (
            ([signal, np.array(step), window], (1, 2)),
            ([signal, np.array(step), window, size], (1, 3)),
            ([signal, np.array(step), None, size], (1, 3)),
            *([([signal[..., 0], np.array(step), window], (1, 2))] if parts == 1 else []),
        ):
            model = node_model("STFT", inputs, constants=constants, opset=17, onesided=onesided)
            assert_imports_like_onnxruntime(model, inputs)


def test_frames_that_do_not_fit() -> None:
    for step, length in ((0, 4), (1, 9), (1, 3)):
        inputs = [np.zeros((1, 8, 1), np.float32), np.array(step), np.ones(4, np.float32), np.array(length)]
        with pytest.raises(ModelError, match="step, frames and window do not fit the signal"):
            import_checked(node_model("STFT", inputs, constants=(1, 3), opset=17))


@pytest.mark.parametrize("numbers", [(8, 16, 8192, 0, 4096), (80, 400, 16000, 0, 8000), (40, 512, 16000, 20, 7600)])
def test_mel_matrices(numbers: tuple[int, ...]) -> None:
    inputs = [np.array(v, np.float32 if i > 2 else np.int64) for i, v in enumerate(numbers)]
    assert_imports_like_onnxruntime(node_model("MelWeightMatrix", inputs, constants=range(5), opset=17), inputs)
    inputs[3:] = inputs[:-3:-1]
    with pytest.raises(ModelError, match="there is no such matrix"):
        import_checked(node_model("MelWeightMatrix", inputs, constants=range(5), opset=17))
