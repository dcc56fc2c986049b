"""Tests of passes calibrate on the reference interpreter: kernels for networks that run twice take longer to make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from unittest import mock

import pytest
from calibration_interpreter import interpreter

from tilewright.compiler.calibration import observation
from tilewright.compiler.calibration.runs import RunFunction
from tilewright.ir.core import Module, Value


def _interpreted(module: Module, values: Mapping[str, Value], *_: object) -> RunFunction:
    return interpreter(module, values)


@pytest.fixture(autouse=True, scope="module")
def calibration_makes_no_kernels() -> Iterator[None]:
    with mock.patch.object(observation, "compiled", _interpreted):
        yield
