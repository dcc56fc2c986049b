"""Every rule of every pass on networks whose every value is quantised: what it makes is well-formed and means the same.

The rules are found in the modules of the passes. For each the smallest networks that its pattern matches are made, and
brought in QDQ form through the pipelines.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from before_after import assert_close, clone, parse, random_inputs
from rule_modules import all_rules, matching_modules

from tilewright.compiler.pipeline import outline_pipeline, quantized_import_pipeline, simulation_pipeline
from tilewright.ir import interp
from tilewright.ir.core import Constant, Module, Op, Value
from tilewright.ir.ops.quantization import DequantizeLinear, QuantizeLinear
from tilewright.ir.types import DType
from tilewright.ir.verify import verify
from tilewright.passes.base import Record
from tilewright.passes.pattern import Driver
from tilewright.passes.quantization.import_quantization import ImportQuantization

RULES = all_rules()
WAYS = ("equal, with a zero point", "ranges", "equal", "ranges, u8")
SOME = 2
"""So many networks of a rule run each time, each in one of the first so many ways; sweeps run all in every way."""


class Twin:
    """A copy of a module in which every real value is converted to stored integers and back.

    Args:
        way: with which parameters. Where they are equal, constants of whole numbers are these very numbers as stored
            integers, which stand for others.
    """

    def __init__(self, module: Module, way: str) -> None:
        self.module = clone(module)
        self.dtype = DType.U8 if "u8" in way else DType.I8
        self.limits = np.iinfo(self.dtype.numpy)
        self.equal = (2.0**-4, 5 if "zero" in way else 0) if "equal" in way else None
        arrays = random_inputs(module, np.random.default_rng(3))
        interp.run(module, arrays, observe=lambda op, found: arrays.update({op.results[0].name: found[0]}))
        function = self.module.main
        values = [*function.parameters, *(value for op in function.ops for value in op.results)]
        for constant in [each for each in self.module.constants.values() if each.type.dtype is DType.F32]:
            self._store(constant)
        for value in values:
            if value.type.dtype is DType.F32:
                self._convert(value, arrays)
        self.module.drop_unused_constants()
        verify(self.module)

    def _parameters(self, array: np.ndarray) -> tuple[float, int]:
        if self.equal is not None:
            return self.equal
        low, high = max(float(array.min(initial=0)), -8.0), max(float(array.max(initial=0)), 2.0**-6)
        scale = float(np.float32((high - low) / 255))
        return scale, int(np.clip(round(self.limits.min - low / scale), self.limits.min, self.limits.max))

    def _constants(self, scale: float, zero: int) -> tuple[Constant, Constant]:
        add = self.module.add_constant
        return add("s", np.array(scale, np.float32)), add("z", np.array(zero, self.dtype.numpy))

    def _store(self, constant: Constant) -> None:
        scale, zero = self._parameters(constant.array)
        is_whole = self.equal is not None and (constant.array == np.rint(constant.array)).all()
        stored = constant.array if is_whole else np.rint(constant.array / scale) + zero
        array = np.clip(stored, self.limits.min, self.limits.max).astype(self.dtype.numpy)
        real = Op(DequantizeLinear(None), [self.module.add_constant("q", array), *self._constants(scale, zero)])
        constant.replace_all_uses(self.module.main.insert(real, next(iter(self.module.main.ops))).result)

    def _convert(self, value: Value, arrays: Mapping[str, np.ndarray]) -> None:
        function, uses = self.module.main, [*value.uses]
        before = next(iter(value.producer.following() if value.producer is not None else function.ops), None)
        parameters = self._constants(*self._parameters(arrays.get(value.name, np.array([-4.0, 4.0]))))
        integers = function.insert(Op(QuantizeLinear(self.dtype, None), [value, *parameters]), before)
        real = function.insert(Op(DequantizeLinear(None), [integers.result, *parameters]), before)
        for user, index in uses:
            user.set_operand(index, real.result)


@cache
def networks(name: str, most: int | None = SOME) -> list[Module]:
    """The smallest networks that the rules of a name fire on."""
    return [*itertools.islice((module for rule in RULES[name] for module in matching_modules(rule)), most)]


def check(before: Module, after: Module, what: str) -> None:
    """Stored integers are equal, and so are the numbers that they stand for."""
    verify(after)
    inputs = random_inputs(before, np.random.default_rng(8))
    found = interp.run(after, inputs)
    for name, array in interp.run(before, inputs).items():
        assert_close(found[name], array, 1e-6, f"{what}: {name}")


def check_rule(name: str, network: Module, way: str) -> None:
    what = f"{name}, {' '.join(op.name for op in network.ops)}, {way}"
    twin = Twin(network, way).module
    typed, simulated, simplified = clone(twin), clone(twin), clone(twin)
    ImportQuantization().run(typed)
    check_alone(name, typed, what)
    simulation_pipeline().run(simulated)
    quantized_import_pipeline().run(simplified)
    check(typed, simplified, what)
    outlined = clone(simplified)
    outline_pipeline("s256").run(outlined)
    check(simplified, outlined, f"{what}, on the device")


def check_alone(name: str, typed: Module, what: str) -> None:
    for rule in RULES[name]:
        alone = clone(typed)
        if Driver((rule,)).run(alone, Record("")):
            check(typed, alone, f"{what}, alone")


@cache
def twins_of_all(way: str) -> list[Module]:
    """A network of each rule with its quantisation recognised."""
    twins = [Twin(network, way).module for name in RULES for network in networks(name)[:1]]
    for module in twins:
        ImportQuantization().run(module)
    return twins


@pytest.mark.parametrize("name", RULES)
def test_a_rule_on_quantised_values_keeps_their_meaning(name: str) -> None:
    for index, network in enumerate(networks(name), [*RULES].index(name)):
        check_rule(name, network, WAYS[index % SOME])
    if not networks(name):
        # It is of quantised values alone.
        for typed in twins_of_all(WAYS[0]):
            check_alone(name, typed, name)


Q = "<s=0x1.0p-4, z=3>"
NUMBERS = f"""
  const @one : f32[] = [0x1.0p0]
  func @main(%s: f32[2,1,5], %v: i8[2,4,5]{Q}) -> (%y: f32[{{shape}}]) {{{{
    %r = dequantize(%v) : f32[2,4,5]
    %w = softmax(%s) {{{{axis=2}}}} : f32[2,1,5]
    {{body}}
    return %y
  }}}}"""
NETWORKS = {
    "gather_of_patches": """
  const @places : i64[2,3] = [0, 2, 4, 1, 3, 5]
  func @main(%x: f32[2,6,5]) -> (%y: f32[2,2,3,5]) {
    %y = gather(%x, @places) {axis=1} : f32[2,2,3,5]
    return %y
  }""",
    "expanded_by_element": """
  func @main(%x: f32[2,1,5], %b: f32[2,4,5]) -> (%y: f32[2,4,5]) {
    %e = expand(%x) {shape=[2, 4, 5]} : f32[2,4,5]
    %y = sub(%b, %e) : f32[2,4,5]
    return %y
  }""",
    "weighted_sum": NUMBERS.format(
        shape="2,4",
        body="""%m = mul(%r, %w) : f32[2,4,5]
    %y = reduce_sum(%m) {axes=[2], keepdims=false} : f32[2,4]""",
    ),
    "pixels_as_channels": f"""
  func @main(%x: i8[2,12,2,3]{Q}) -> (%y: i8[2,4,6,3]{Q}) {{
    %y = reshape(%x) {{shape=[2, 4, 6, 3]}} : i8[2,4,6,3]{Q}
    return %y
  }}""",
    "heads_as_channels": f"""
  func @main(%x: i8[1,2,6,4]{Q}) -> (%y: i8[1,8,2,3]{Q}) {{
    %a = attention(%x, %x, %x, _) {{batch=[2], rows=6, keys=6, width=4, depth=4, shape=[2, 6, 4],
      q_view=[0, 24, 4, 1], k_view=[0, 24, 4, 1], v_view=[0, 24, 4, 1], y_view=[0, 24, 4, 1], mask_view=[],
      scale=0x1.0p-1, causal=false}} : i8[2,6,4]{Q}
    %t = transpose(%a) {{perm=[0, 2, 1]}} : i8[2,4,6]{Q}
    %y = reshape(%t) {{shape=[1, 8, 2, 3]}} : i8[1,8,2,3]{Q}
    return %y
  }}""",
}
"""What rules fire on whose patterns leave open what they ask for."""


@pytest.mark.parametrize("name", NETWORKS)
def test_rules_alone_keep_the_meaning(name: str) -> None:
    before = parse(NETWORKS[name])
    found = [clone(before) for _ in RULES[name]]
    fired = [each for each, rule in zip(found, RULES[name], strict=True) if Driver((rule,)).run(each, Record(""))]
    assert fired
    for after in fired:
        check(before, after, name)


@pytest.mark.sweep
@pytest.mark.parametrize("name", RULES)
def test_all_networks_of_a_rule_on_quantised_values(name: str) -> None:
    for network, way in itertools.product(networks(name, None), WAYS):
        check_rule(name, network, way)
