"""Texts of modules with other tokens, in artifacts whose other parts agree; kernels are generated again, and run."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
from random_graphs import random_graph

from tilewright.compiler.pipeline import cpu_pipeline
from tilewright.errors import TilewrightError
from tilewright.ir.core import Module
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module

from ..execution import is_small, single_op_module
from ..forgery import forge
from ..generator import Case, generator
from ..guarded_session import become_a_stranger, load_and_run
from ..mutation import pick, pick_integer
from .attributes import other_operator, prepare, random_sample, same_shapes

TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?0x[0-9a-f.]+p[+-]?[0-9]+|[%@][\w.$/-]+|-?[0-9]+|->|\w+|[^\s\w]|\n[ ]*|[ ]+')
WORDS = (
    "none", "true", "false", "nan", "inf", "-inf", "_", "f32", "f64", "f16", "i8", "u8", "i32", "i64", "bool", "c16",
    "o16i16", "o16", "io16", "o16i4", "i4o16", "i8o16", "o16k4", "n32", "s", "z", "axis", "blob", "at", "alias", "on",
    "arena_bytes", "device", "cpu", "relu", "clip", "constant", "reflect", "edge", "wrap", "return", "func", "const",
    "meta", "module", "loc",
)  # fmt: skip
FLOATS = ("0x1.0p+0", "-0x1.8p+3", "0x0.0p+0", "0x1.0p-149", "0x1.fp+127", "0x1.0p+99999", "nan", "inf", "-inf")
ODDITIES = ("[" * 900, "[" * 900 + "]" * 900, "9" * 5000, "-" + "9" * 5000, '"' + "\\ud800" + '"', "\x00", "é", "//")


def base_module(rng: np.random.Generator) -> Module:
    """A planned module: a small network, a sample, or a sample with other attributes or shapes.

    Raises:
        TilewrightError: the changed sample is refused.
    """
    kind = rng.integers(6)
    if kind == 0:
        module = random_graph(rng)
    else:
        sample = random_sample(rng)
        operator, types, given = sample.operator, sample.operand_types(), sample.result_types
        constants = {i: a for i, a in enumerate(sample.inputs) if i in sample.constants and a is not None}
        if kind > 2 and given is None:
            operator = other_operator(rng, operator) if rng.integers(2) else operator
            types = same_shapes(rng, types, int(rng.integers(len(types)))) if types and rng.integers(2) else types
            constants = {}
        module = single_op_module(operator, types, given, constants)
    cpu_pipeline().run(module)
    return module


def change_tokens(rng: np.random.Generator, text: str) -> str:
    """One to three changes of tokens or lines."""
    for _ in range(pick(rng, (1, 1, 2, 3))):
        text = _change(rng, text)
    return text


def _change(rng: np.random.Generator, text: str) -> str:
    tokens = TOKEN.findall(text)
    kind = rng.integers(16)
    if kind == 0:
        lines = text.splitlines(keepends=True)
        index, other = int(rng.integers(len(lines))), int(rng.integers(len(lines)))
        how = rng.integers(3)
        if how == 0:
            del lines[index]
        elif how == 1:
            lines.insert(other, lines[index])
        else:
            lines[index], lines[other] = lines[other], lines[index]
        return "".join(lines)
    if kind < 11:
        # Numbers matter most; half the time all equal ones change together, as a consistent text has it.
        numbers = [i for i, token in enumerate(tokens) if re.fullmatch(r"-?[0-9]{1,99}", token)]
        if numbers:
            index = pick(rng, numbers)
            old = tokens[index]
            new = str(pick_integer(rng, int(old)))
            together = rng.integers(2)
            return "".join(new if i == index or (together and t == old) else t for i, t in enumerate(tokens))
    index = int(rng.integers(len(tokens)))
    while tokens[index].isspace():
        index = int(rng.integers(len(tokens)))
    if kind < 13:
        tokens[index] = _other_token(rng, tokens, tokens[index])
    elif kind == 13:
        del tokens[index]
    elif kind == 14:
        tokens.insert(index, tokens[index])
    else:
        other = int(rng.integers(len(tokens)))
        tokens[index], tokens[other] = tokens[other], tokens[index]
    return "".join(tokens)


def _other_token(rng: np.random.Generator, tokens: list[str], token: str) -> str:
    if rng.integers(20) == 0:
        return pick(rng, ODDITIES)
    if re.fullmatch(r"-?[0-9]{1,99}", token):
        return str(pick_integer(rng, int(token)))
    if token.startswith(("0x", "-0x")):
        return pick(rng, FLOATS)
    if token[0] in "%@":
        return pick(rng, [t for t in tokens if t[0] in "%@"])
    if token[0].isalpha():
        return pick(rng, (*WORDS, *(t for t in tokens if t[0].isalpha())))
    return pick(rng, ("(", ")", "[", "]", "{", "}", "<", ">", ",", ":", "=", "#", "->", "1", "x"))


def prepare_stranger() -> None:
    become_a_stranger()
    prepare()


def short_runs(text: str, module: Module) -> bool:
    """Whether what a text describes runs within moments, if at all."""
    try:
        return is_small(parse_module(text, blobs(module)))
    except TilewrightError:
        return True


@generator("ir_text", prepare=prepare_stranger)
def ir_text(rng: np.random.Generator) -> Case:
    module = base_module(rng)
    text = change_tokens(rng, print_module(module))
    return Case(text, partial(_run, rng, module, text))


def _run(rng: np.random.Generator, module: Module, text: str) -> None:
    content = forge(text, blobs(module))
    load_and_run(content, rng, is_short=short_runs(text, module))
