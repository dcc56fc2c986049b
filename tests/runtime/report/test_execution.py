"""What `tilewright run` prints of outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.runtime.report.execution import results_text

LAST = "  largest: [2] inf, [1] 1, [0] nan\n"
"""Of infinity, 1 and no number."""


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([False, True, True]), "bool[3]\n  min 0, max 1, mean 0.666667\n  largest: [1] 1, [2] 1, [0] 0\n"),
        (np.array([3, 0, 255], np.uint8), "uint8[3]\n  min 0, max 255, mean 86\n  largest: [2] 255, [0] 3, [1] 0\n"),
        (np.array([-128, 3], np.int8), "int8[2]\n  min -128, max 3, mean -62.5\n  largest: [1] 3, [0] -128\n"),
        (np.array(2.5, np.float16), "float16[]\n  min 2.5, max 2.5, mean 2.5\n  largest: [0] 2.5\n"),
        (np.zeros((3, 0)), "float64[3,0]\n"),
        (
            np.array([np.nan, 1, np.inf]),
            "float64[3]\n  min nan, max nan, mean nan\n  largest: [2] inf, [1] 1, [0] nan\n",
        ),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, np.ndarray) else "",
)
def test_the_largest_elements_of_every_type(array: np.ndarray, text: str) -> None:
    assert results_text({"y": array}) == f"y: {text}"


def test_a_name_feigns_no_other_line() -> None:
    assert results_text({"y\x1b[2J\nz": np.zeros(0, np.int8)}) == "y\\x1b[2J\\nz: int8[0]\n"
