"""The whole float path keeps the meaning, after each pass, on every operator and on random networks."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_close, clone, random_inputs
from grouped_tests import grouped, groups
from operator_samples import Case, all_cases, operator_of
from random_graphs import CONVOLUTIONAL, random_graph
from random_seeds import seeds

from tilewright.errors import TilewrightError
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.passes.base import Pass, Record, Verification
from tilewright.passes.instruments import Instrument
from tilewright.passes.pipeline import Pipeline

FLOAT_PATH = (
    "fold_constants,canonicalize,eliminate_common_subexpressions,canonicalize,fold_constants,fuse,"
    "eliminate_dead_code,widen_half,frame_convolutions,transposed_convolutions,volume_convolutions,one_hot_products,"
    "place_on_cpu,choose_layouts,isolate_outputs,plan_cpu_memory"
)


class SameMeaning(Instrument):
    """An instrument that runs the module after each pass that modified it and compares with the first run."""

    def __init__(self, module: Module, inputs: dict[str, np.ndarray]) -> None:
        self._inputs = inputs
        self._expected = interp.run(module, inputs)

    def after(self, current: Pass, module: Module, record: Record) -> None:
        if not record.modified:
            return
        found = interp.run(module, self._inputs)
        assert list(found) == list(self._expected)
        for name, expected in self._expected.items():
            assert_close(found[name], expected, tolerance_of(expected), f"%{name} after {current}")


def tolerance_of(array: np.ndarray) -> float:
    return 1e-2 if array.dtype == np.float16 else 1e-5


def run_float_path(module: Module, inputs: dict[str, np.ndarray]) -> None:
    instrument = SameMeaning(clone(module), inputs)
    Pipeline.parse(FLOAT_PATH).run(module, instruments=[instrument], verification=Verification.FULL)


def is_row_major(case: Case) -> bool:
    return all(type is None or not type.layout for type in case.sample.operand_types())


# The float path starts from what a front end makes, which knows no layouts.
CASES = [case for case in all_cases() if is_row_major(case) and operator_of(case) != "reorder"]


SOME = [case for cases in groups(CASES, operator_of).values() for case in cases[::3]]


@pytest.mark.sweep
@grouped(CASES, operator_of)
def test_all_operator_samples(case: Case) -> None:
    check_sample(case)


@grouped(SOME, operator_of)
def test_operator_samples(case: Case) -> None:
    check_sample(case)


def check_sample(case: Case) -> None:
    try:
        interp.run(case.module, case.inputs)
    except TilewrightError:
        pytest.skip("the sample fails by design")
    run_float_path(case.module, case.inputs)


@pytest.mark.parametrize("seed", seeds(10, 30))
def test_random_networks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = random_graph(rng)
    run_float_path(module, random_inputs(module, rng))


@pytest.mark.parametrize("seed", seeds(4, 10))
def test_random_classifiers(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    module = random_graph(rng, groups=16, makers=CONVOLUTIONAL, spatial=2)
    run_float_path(module, random_inputs(module, rng))


@pytest.mark.parametrize("seed", seeds(6, 20))
def test_memory_plans_of_random_networks(seed: int) -> None:
    module = random_graph(np.random.default_rng(2000 + seed), groups=20)
    Pipeline.parse(FLOAT_PATH).run(module)
    assert "arena_bytes" in module.main.annotations


def test_random_networks_differ_and_repeat() -> None:
    texts = [str(random_graph(np.random.default_rng(seed))) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
