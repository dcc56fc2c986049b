"""How work items are cut, so that threads which share them have equal work and read what they wrote."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernel_harness import CANARY, Invocation, described, invoke

from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.kernels.convolutions.convolution import Convolution
from tilewright.codegen.cpu.kernels.convolutions.depthwise import Depthwise
from tilewright.codegen.cpu.kernels.products.blocking import rows_of_item
from tilewright.codegen.cpu.kernels.window import Axis

EXTENT = 28
LINE, SAME = Axis.line(EXTENT), Axis(EXTENT, EXTENT, 3, 1, 1, 1)

STEPS = {
    "pointwise": (Convolution(1, 144, LINE, LINE, 80), 9 * 16 * 80),
    "window": (Convolution(1, 16, SAME, SAME, 80), 9 * 16 * 80),
    "depthwise": (Depthwise(1, 144, SAME, SAME), 9 * 9 * 16),
}


@pytest.mark.parametrize("name", STEPS)
def test_half_of_the_items_is_half_of_the_image(name: str) -> None:
    spec, weights = STEPS[name]
    kernel = spec.generate(described("host"))
    assert kernel.units % 2 == 0
    half = replace(kernel, units=kernel.units // 2)
    (y,) = _results(half, spec, weights)
    written = (y.view(np.uint8) != CANARY).any(axis=-1)
    assert written[:, : EXTENT // 2].all()
    assert not written[:, EXTENT // 2 :].any()


def _results(kernel: Kernel, spec: Convolution | Depthwise, weights: int) -> list[np.ndarray]:
    channels, outputs = spec.channels, spec.outputs if isinstance(spec, Convolution) else spec.channels
    operands = [np.zeros(count, np.float32) for count in (channels * EXTENT**2, weights)]
    (found,) = invoke(
        [Invocation(kernel, operands, [((outputs // 16, EXTENT, EXTENT, 16), np.dtype(np.float32))])],
        described("host"),
    )
    assert found is not None
    return found


def test_threads_get_equal_parts_of_rows() -> None:
    # Fewer rows than fit, because channels alone are no work for several threads.
    assert rows_of_item(28, 28, 1, by_rows=False) == 7
    assert rows_of_item(28, 28, 3, by_rows=False) == 14
    assert rows_of_item(28, 28, 20, by_rows=False) == 28
    assert rows_of_item(28, 28, 20, by_rows=True) == 7
    # 18 rows would fit and leave 10 for the other thread.
    assert rows_of_item(28, 18, 20, by_rows=False) == 14
    assert rows_of_item(1, 1, 1, by_rows=True) == 1
