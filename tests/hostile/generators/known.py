"""What has crashed, hung or filled a machine before, as it was and with other tokens; what is found is added here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
from network_files import graph_model
from onnx import TensorProto, helper

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions

from ..forgery import forge
from ..generator import Case, generator
from ..guarded_session import load_and_run
from ..mutation import pick
from ..odd_models import ODD_MODELS
from .ir_text import change_tokens, prepare_stranger

WINDOW = "kernel=[{k}], strides=[{s}], pads=[0, {p}], dilations=[{d}]"

OPS = {
    "positions beyond 32 bits": (
        "f32[1,6,8], f32[4,3,1]",
        "f32[1,4,2]",
        f"conv(%x0, %x1) {{strides=[{2**32}], pads=[0, {2**32}], dilations=[1], group=2, act=none, act_args=[]}}",
    ),
    "positions beyond 64 bits": (
        "f32[1,1,8]",
        "f32[1,1,5]",
        f"average_pool(%x0) {{kernel=[2], strides=[{2**62}], pads=[0, {2**64 - 6}], dilations=[1], "
        "count_include_pad=false, overhang=[0]}",
    ),
    "a dilation that wraps": (
        "f32[1,1,8]",
        "f32[1,1,1]",
        f"lp_pool(%x0) {{kernel=[3], strides=[1], pads=[0, {2**63 - 7}], dilations=[{2**62}], p=2}}",
    ),
    "a window of 2**48 positions": (
        "f32[1,1,2,2]",
        "f32[1,1,1,1]",
        f"max_pool(%x0) {{kernel=[2, {2**48}], strides=[2, {2**48}], pads=[0, {2**48 - 1}, 0, 1], dilations=[1, 1]}}",
    ),
    "rows of nothing without end": (f"f32[{2**40},3,0], i64[1]", f"f32[{2**40},1,0]", "gather(%x0, %x1) {axis=1}"),
    "a bound that is no number": ("i8[4]", "i8[4]", "clip(%x0) {min=nan, max=0x1.0p+0}"),
    "a float beyond all": ("f32[4]", "f32[4]", "clip(%x0) {min=0x1.0p+99999, max=0x1.0p+0}"),
    "a product with a number": ("i8[1,1,4], i8[]", "i32[1,1,4]", "conv_integer(%x0, %x1) "
                                "{strides=[1], pads=[0, 0], dilations=[1], group=1}"),
    "lists 900 deep": ("f32[4]", "f32[4]", f"clip(%x0) {{min={'[' * 900}{']' * 900}, max=0x1.0p+0}}"),
    "a number of 5,000 digits": ("f32[4]", "f32[4]", f"softmax(%x0) {{axis={'9' * 5000}}}"),
    "33 dimensions": (f"f32[{','.join('1' * 33)}]", f"f32[{','.join('1' * 33)}]", "relu(%x0)"),
}  # fmt: skip
"""Types of operands, of the result, and the op: single operators as texts."""


def module_text(operands: str, result: str, op: str) -> str:
    """A planned module of one op."""
    parameters = ", ".join(f"%x{i}: {type}" for i, type in enumerate(operands.split(", ")))
    return f"""module @known {{
  func @main({parameters}) -> (%y: {result}) [arena_bytes=0] {{
    %y = {op} [on=cpu, at=[none]] : {result}
    return %y
  }}
}}
"""


def _model(*nodes: onnx.NodeProto, shape: list[int] | None = None, **arrays: np.ndarray) -> bytes:
    inputs = [("x", TensorProto.FLOAT, shape or [1, 1, 4, 4])]
    return graph_model(nodes, inputs, initializers=arrays).SerializeToString()


def _long(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _chain(length: int) -> list[onnx.NodeProto]:
    """Nodes one after another, the last first."""
    nodes = [helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(length)]
    nodes[-1].output[0] = "y"
    return nodes[::-1]


node = helper.make_node
MODELS: dict[str, Callable[[], bytes]] = {
    "a constant of 2**31 elements": lambda: _model(node("ConstantOfShape", ["n"], ["y"]), n=_long(2**31)),
    "padding by 2**30": lambda: _model(
        node("Pad", ["x", "pads"], ["y"]), pads=_long(0, 0, 0, 0, 0, 0, 0, 2**28)
    ),
    "resizing to 2**27": lambda: _model(
        node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"), sizes=_long(1, 1, 1, 2**27)
    ),
    "one value 2,000 times": lambda: _model(node("Concat", ["x"] * 2000, ["y"], axis=0)),
    "20,000 parts": lambda: _model(
        node("Split", ["x"], ["y", *(f"y{i}" for i in range(1, 20_000))], axis=0, num_outputs=20_000), shape=[20_000, 1]
    ),
    "4,000 nodes, the last first": lambda: _model(*_chain(4000)),
    "positions beyond 32 bits": lambda: _model(
        node("Conv", ["x", "w"], ["y"], strides=[2**32], pads=[0, 2**32], group=2),
        shape=[1, 6, 8],
        w=np.ones((4, 3, 1), np.float32),
    ),
    "no channels": lambda: _model(
        node("InstanceNormalization", ["x", "s", "s"], ["y"]), shape=[1, 0, 4, 4], s=np.ones(0, np.float32)
    ),
    **{f"odd {i}": model.SerializeToString for i, model in enumerate(ODD_MODELS)},
}  # fmt: skip


@generator("known", prepare=prepare_stranger, cases=2_000)
def known(rng: np.random.Generator) -> Case:
    """One in ten cases is a model, since some take seconds."""
    if rng.integers(10) == 0:
        name = pick(rng, list(MODELS))
        return Case(name, partial(_compile, name))
    name = pick(rng, list(OPS))
    text = module_text(*OPS[name])
    if rng.integers(3):
        text = change_tokens(rng, text)
    return Case(f"{name}\n{text}", lambda: load_and_run(forge(text, {}), rng, runs=False))


def _compile(name: str) -> None:
    compile_to_memory(MODELS[name](), CompileOptions())
