"""Transposes of maps whose channels come last, as Keras has them, go behind what works element by element."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_leaves_alone, assert_same_meaning, clone, parse, run_pass

LAST, FIRST = "{perm=[0, 2, 3, 1]}", "{perm=[0, 3, 1, 2]}"
CONV = '{strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]}'


def simplified(text: str, rng: np.random.Generator) -> list[str]:
    """The ops that are left of a network, which means what it did."""
    arrays = {"w": rng.standard_normal((3, 3, 1, 1)).astype(np.float32)}
    arrays["bias"] = rng.standard_normal(3).astype(np.float32)
    constants = 'const @w : f32[3,3,1,1] = blob "w"\nconst @bias : f32[3] = blob "bias"\n'
    module = parse(constants + text, arrays)
    before = clone(module)
    run_pass("canonicalize", module)
    assert_same_meaning(before, module, rng)
    return [op.name for op in module.ops]


@pytest.mark.parametrize(
    ("middle", "left"),
    [
        (["%m = add(%t, @bias) : f32[2,4,5,3]"], []),
        (["%s = mul(%t, @bias) : f32[2,4,5,3]", "%m = sub(%s, @bias) : f32[2,4,5,3]"], []),
        (["%s = sigmoid(%t) : f32[2,4,5,3]", "%m = add(%t, %s) : f32[2,4,5,3]"], ["sigmoid", "add"]),
        (["%m = add(%t, %t) : f32[2,4,5,3]"], ["add"]),
    ],
)
def test_arithmetic_is_one_with_maps(middle: list[str], left: list[str], rng: np.random.Generator) -> None:
    """A bias, which runs along the last dimension, goes into the convolution; no transpose is left."""
    lines = "\n".join(middle)
    text = f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,3,4,5]) {{
        %c = conv(%x, @w) {CONV} : f32[2,3,4,5]
        %t = transpose(%c) {LAST} : f32[2,4,5,3]
        {lines}
        %y = transpose(%m) {FIRST} : f32[2,3,4,5]
        return %y }}"""
    assert simplified(text, rng) == ["conv", *left]


def test_gates_of_channels_need_no_transpose(rng: np.random.Generator) -> None:
    """Squeeze and excitation: what is averaged is read twice, and maps of one pixel are transposed by a reshape."""
    text = f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,3,4,5]) {{
        %c = conv(%x, @w) {CONV} : f32[2,3,4,5]
        %t = transpose(%c) {LAST} : f32[2,4,5,3]
        %mean = reduce_mean(%t) {{axes=[1, 2], keepdims=true}} : f32[2,1,1,3]
        %first = transpose(%mean) {FIRST} : f32[2,3,1,1]
        %d = conv(%first, @w) {CONV} : f32[2,3,1,1]
        %last = transpose(%d) {LAST} : f32[2,1,1,3]
        %gate = sigmoid(%last) : f32[2,1,1,3]
        %m = mul(%t, %gate) : f32[2,4,5,3]
        %y = transpose(%m) {FIRST} : f32[2,3,4,5]
        return %y }}"""
    assert simplified(text, rng) == ["conv", "global_average_pool", "conv", "sigmoid", "mul"]


def test_a_number_does_not_choose_the_order_of_a_constant_map(rng: np.random.Generator) -> None:
    """There is no transpose to be moved: were the constant transposed for it, that would go on for ever."""
    text = """func @main(%x: f32[]) -> (%y: f32[3,3,1,1]) {
        %y = mul(%x, @w) : f32[3,3,1,1]
        return %y }"""
    assert simplified(text, rng) == ["mul"]


def test_padding_reaches_the_convolution(rng: np.random.Generator) -> None:
    """Keras pads before a convolution of stride 2, with channels last."""
    text = f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,3,6,6]) {{
        %c = conv(%x, @w) {CONV} : f32[2,3,4,5]
        %t = transpose(%c) {LAST} : f32[2,4,5,3]
        %r = relu(%t) : f32[2,4,5,3]
        %p = pad(%r) {{pads=[0, 2, 1, 0, 0, 0, 0, 0], mode=constant, value=0x0.0p0}} : f32[2,6,6,3]
        %n = transpose(%p) {FIRST} : f32[2,3,6,6]
        %y = conv(%n, @w) {CONV} : f32[2,3,6,6]
        return %y }}"""
    assert simplified(text, rng) == ["conv", "relu", "conv"]


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_any_padding_goes_behind_a_transpose(mode: str, rng: np.random.Generator) -> None:
    text = f"""func @main(%x: f32[2,3,4]) -> (%y: f32[7,4,5]) {{
        %p = pad(%x) {{pads=[2, 0, 1, 0, 2, 2], mode={mode}, value=0x1.0p0}} : f32[4,5,7]
        %y = transpose(%p) {{perm=[2, 0, 1]}} : f32[7,4,5]
        return %y }}"""
    assert simplified(text, rng) == ["transpose", "pad"]


def test_padding_of_rows_that_become_maps_reaches_the_convolution(rng: np.random.Generator) -> None:
    """Keras has one-dimensional convolutions as ones of maps of one row, and pads the rows before."""
    text = f"""func @main(%x: f32[2,5,3]) -> (%y: f32[2,3,1,7]) {{
        %p = pad(%x) {{pads=[0, 2, 0, 0, 0, 0], mode=constant, value=0x0.0p0}} : f32[2,7,3]
        %r = reshape(%p) {{shape=[2, 1, 7, 3]}} : f32[2,1,7,3]
        %t = transpose(%r) {FIRST} : f32[2,3,1,7]
        %y = conv(%t, @w) {CONV} : f32[2,3,1,7]
        return %y }}"""
    assert simplified(text, rng) == ["reshape", "transpose", "conv"]


def test_reshapes_that_mix_elements_stay_behind_their_pad() -> None:
    assert_leaves_alone(
        "canonicalize",
        """func @main(%x: f32[2,5,3]) -> (%y: f32[7,2,3]) {
            %p = pad(%x) {pads=[0, 2, 0, 0, 0, 0], mode=constant, value=0x0.0p0} : f32[2,7,3]
            %y = reshape(%p) {shape=[7, 2, 3]} : f32[7,2,3]
            return %y }""",
    )


@pytest.mark.parametrize(
    "text",
    [
        # Another reads the map as it lies, with channels last.
        f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,4,5,3], %z: f32[40,3]) {{
            %t = transpose(%x) {LAST} : f32[2,4,5,3]
            %y = exp(%t) : f32[2,4,5,3]
            %z = reshape(%t) {{shape=[40, 3]}} : f32[40,3]
            return %y, %z }}""",
        # So does the caller.
        f"""func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,4,5,3], %t: f32[2,4,5,3]) {{
            %t = transpose(%x) {LAST} : f32[2,4,5,3]
            %y = exp(%t) : f32[2,4,5,3]
            return %y, %t }}""",
        # The other operand is no transpose.
        f"""func @main(%x: f32[2,3,4,5], %o: f32[2,4,5,3]) -> (%y: f32[2,4,5,3]) {{
            %t = transpose(%x) {LAST} : f32[2,4,5,3]
            %y = add(%t, %o) : f32[2,4,5,3]
            return %y }}""",
        # Norms of keys lie in another order behind them.
        """func @main(%x: f32[2,3,4,5]) -> (%y: f32[2,4,3,1], %t: f32[2,4,3,5]) {
            %t = transpose(%x) {perm=[0, 2, 1, 3]} : f32[2,4,3,5]
            %y = reduce_l2(%t) {axes=[3], keepdims=true} : f32[2,4,3,1]
            return %y, %t }""",
        # Keys of attention, cut out of rows.
        f"""func @main(%x: f32[2,12,5]) -> (%y: f32[2,4,5,3]) {{
            %h = reshape(%x) {{shape=[2, 3, 4, 5]}} : f32[2,3,4,5]
            %t = transpose(%h) {LAST} : f32[2,4,5,3]
            %y = exp(%t) : f32[2,4,5,3]
            return %y }}""",
    ],
)
def test_transposes_that_have_to_stay(text: str) -> None:
    assert_leaves_alone("canonicalize", text)
