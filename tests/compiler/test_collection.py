"""The garbage collector runs rarely while a network is compiled, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

from tilewright.compiler.collection import OBJECTS, rarely_collected
from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.errors import CalibrationError


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    yield
    gc.set_threshold(*before)


def test_what_compiles_last_puts_the_threshold_back() -> None:
    first, second = rarely_collected(), rarely_collected()
    with first:
        second.__enter__()
        assert gc.get_threshold() == (OBJECTS, 11, 12)
    assert gc.get_threshold() == (OBJECTS, 11, 12)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (701, 11, 12)


@pytest.mark.parametrize("objects", [0, 1_000_000])
def test_who_collects_less_is_left_alone(objects: int) -> None:
    gc.set_threshold(objects)
    with rarely_collected():
        assert gc.get_threshold()[0] == objects
    assert gc.get_threshold()[0] == objects


def test_a_threshold_that_is_changed_meanwhile_stays() -> None:
    with rarely_collected():
        gc.set_threshold(5)
    assert gc.get_threshold()[0] == 5


def test_compiling_collects_rarely_whether_it_succeeds_or_not() -> None:
    seen: set[int] = set()
    samples = np.zeros((2, 1, 8, 8), np.float32)
    options = CompileOptions(
        precision="int8", calibration=samples, report=lambda stage, done, total: seen.add(gc.get_threshold()[0])
    )
    build(MODEL, options)
    assert seen == {OBJECTS}
    assert gc.get_threshold() == (701, 11, 12)
    with pytest.raises(CalibrationError):
        build(MODEL, CompileOptions(precision="int8", calibration=np.full_like(samples, np.nan)))
    assert gc.get_threshold() == (701, 11, 12)
