"""NumPy's products on one thread while networks are quantised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx_networks import OnnxNetwork

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.one_thread import on_one_thread
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization import methods
from tilewright.compiler.quantization.learn_rounding import learn_weights
from tilewright.compiler.quantization.quantize import quantize_module

threadpoolctl = pytest.importorskip("threadpoolctl")


def threads() -> int:
    (found,) = (each for each in threadpoolctl.threadpool_info() if "numpy" in each["filepath"])
    return found["num_threads"]


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threadpoolctl.threadpool_limits(2):
        if threads() != 2:
            pytest.skip("NumPy's products have no threads")
        yield


def test_the_last_that_leaves_gives_threads_back(two_threads: None) -> None:
    first, second = on_one_thread(), on_one_thread()
    found = []
    for step in (first.__enter__, second.__enter__, lambda: first.__exit__(None, None, None)):
        step()
        found.append(threads())
    second.__exit__(None, None, None)
    assert [*found, threads()] == [1, 1, 1, 2]


def test_threads_are_given_back_after_an_error(two_threads: None) -> None:
    with pytest.raises(ZeroDivisionError), on_one_thread():
        raise ZeroDivisionError
    assert threads() == 2


def test_weights_are_learnt_on_one_thread(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(*given: object) -> object:
        seen.append(threads())
        return learn_weights(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(methods, "learn_weights", watched)
    net = OnnxNetwork(np.random.default_rng(0))
    x = "x"
    for _ in range(3):
        x = net.op("MatMul", x, net.some(16, 16))
    samples = np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)
    quantize_module(import_model(net.model([1, 16], x)), CompileOptions(calibration=samples, weights_bits=4))
    assert (seen, threads()) == ([1], 2)
