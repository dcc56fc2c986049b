"""Texts of modules with other tokens, as ``tilewright opt`` reads them: whatever verifies goes through the passes."""

from __future__ import annotations

from functools import partial

import numpy as np
from quantized_graphs import random_quantized_graph
from random_graphs import random_graph

from tilewright.compiler.pipeline import cpu_pipeline, float_pipeline, quantized_import_pipeline
from tilewright.errors import resources
from tilewright.ir.core import Module
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module
from tilewright.ir.verify import verify
from tilewright.passes.pipeline import Pipeline

from ..execution import compile_guarded, single_op_module
from ..generator import Case, generator
from ..mutation import pick
from .attributes import other_operator, other_type, prepare, random_sample
from .ir_text import change_tokens

PIPELINES = (
    float_pipeline(),
    float_pipeline(),
    cpu_pipeline(),
    Pipeline((*quantized_import_pipeline().passes, *cpu_pipeline().passes)),
)


def _module(rng: np.random.Generator) -> Module:
    """A module that no pass has seen: a network, or a sample whose operands are constants but for the first."""
    kind = rng.integers(8)
    if kind == 0:
        return random_quantized_graph(rng, groups=2)
    if kind < 3:
        return random_graph(rng)
    sample = random_sample(rng)
    operator, types, given = sample.operator, sample.operand_types(), sample.result_types
    if kind > 4 and given is None and types and types[0] is not None:
        operator = other_operator(rng, operator) if rng.integers(2) else operator
        types = (other_type(rng, types[0]), *types[1:]) if rng.integers(2) else types
    constants = {i: a for i in range(1, len(sample.inputs)) if (a := sample.inputs[i]) is not None}
    return single_op_module(operator, types, given, constants)


@generator("passes", prepare=prepare)
def passes(rng: np.random.Generator) -> Case:
    module = _module(rng)
    text = print_module(module)
    if rng.integers(2):
        text = change_tokens(rng, text)
    return Case(text, partial(_run, rng, module, text))


@resources("opt")
def _run(rng: np.random.Generator, original: Module, text: str) -> None:
    module = parse_module(text, blobs(original))
    verify(module)
    pick(rng, PIPELINES).run(module)
    compile_guarded(module, rng)
