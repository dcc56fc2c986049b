"""Damaged and nonsensical models: each is imported or refused, never anything else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from model_mutations import MODELS, mutate

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.pipeline import float_pipeline
from tilewright.errors import TilewrightError

ROUNDS = pytest.mark.parametrize("rounds", [30, pytest.param(60, marks=pytest.mark.sweep)])
"""Mutations of one kind of one model. Sweeps of `tests/hostile` make thousands."""


def compile_or_refuse(model: bytes | onnx.ModelProto) -> bool:
    """Import and run the passes; whether the model was accepted. Any other exception than ours fails the test."""
    try:
        module = import_onnx(model)
        float_pipeline().run(module)
    except TilewrightError as error:
        assert error.message
        return False
    return True


@pytest.mark.parametrize("name", MODELS)
def test_the_models_themselves_are_accepted(name: str) -> None:
    assert compile_or_refuse(MODELS[name]())


@ROUNDS
@pytest.mark.parametrize("name", MODELS)
def test_damaged_bytes(name: str, rounds: int, rng: np.random.Generator) -> None:
    content = np.frombuffer(MODELS[name]().SerializeToString(), np.uint8)
    for _ in range(rounds):
        damaged = content.copy()
        places = rng.integers(0, len(content), rng.integers(1, 4))
        damaged[places] = rng.integers(0, 256, len(places))
        compile_or_refuse(damaged.tobytes())
    for _ in range(rounds // 2):
        begin, end = sorted(rng.integers(0, len(content), 2))
        compile_or_refuse(np.delete(content, np.s_[begin : min(end, begin + 20)]).tobytes())


@ROUNDS
@pytest.mark.parametrize("name", MODELS)
def test_nodes_rewired_and_attributes_changed(name: str, rounds: int, rng: np.random.Generator) -> None:
    accepted = 0
    for _ in range(rounds):
        model = MODELS[name]()
        for _ in range(rng.integers(1, 3)):
            mutate(model.graph, rng)
        accepted += compile_or_refuse(model)
    assert accepted < rounds, "none of the mutations did any harm"
