"""Batches are shared out over cards and calls, where every image is computed by itself."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import canonical, parse, random_inputs, run_pass

from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.core import Module
from tilewright.ir.ops.call import Call
from tilewright.passes.device.share_batch import ShareBatch, batch_of, calls_of_batch

Q = "<s=0x1.0p-4, z=3>"


def called(shape: str, result: str, *lines: str, other: str = "1,4,1,1") -> Module:
    """A function of the device, with parameters x and c, that returns y, and its call."""
    body = "\n".join(f'    {line} loc("N")'.replace("#", Q) for line in lines)
    return parse(f"""
  func @main(%x: i8[{shape}]{Q}) -> (%r: i8[{result}]{Q}) {{
    %c = slice(%x) {{begin=[0, 0, 0, 0], extent=[{other}], step=[1, 1, 1, 1]}} [on=cpu] : i8[{other}]{Q}
    %r = call(%x, %c) {{callee=device_0, shares=1}} [on=device, region=0] : i8[{result}]{Q}
    return %r
  }}
  func @device_0(%x: i8[{shape}]{Q}, %c: i8[{other}]{Q}) -> (%y: i8[{result}]{Q}) [on=device] {{
{body}
    return %y
  }}""")


def shares(module: Module) -> int:
    return next(op.operator.shares for op in module.main.ops if isinstance(op.operator, Call))


def test_a_function_becomes_one_of_a_share() -> None:
    module = called(
        "6,4,2,3",
        "6,24",
        "%a = add(%x, %c) [on=device] : i8[6,4,2,3]#",
        "%p = max_pool(%a) {kernel=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]} [on=device] : "
        "i8[6,4,2,3]#",
        "%y = reshape(%p) {shape=[6, 24]} [on=device] : i8[6,24]#",
    )
    run_pass(ShareBatch(cards=3, clusters=2, images_per_cluster=1), module)
    after = called(
        "2,4,2,3",
        "2,24",
        "%a = add(%x, %c) [on=device] : i8[2,4,2,3]#",
        "%p = max_pool(%a) {kernel=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]} [on=device] : "
        "i8[2,4,2,3]#",
        "%y = reshape(%p) {shape=[2, 24]} [on=device] : i8[2,24]#",
    )
    found, expected = (str(canonical(each)).split("func @device_0")[1] for each in (module, after))
    assert "[on=device, cards=3, images=[2, 1]]" in found
    assert found.replace(", cards=3, images=[2, 1]", "") == expected
    assert shares(module) == 3


@pytest.mark.parametrize(
    ("lines", "is_shared"),
    [
        (["%y = slice(%x) {begin=[0, 1, 0, 0], extent=[4, 2, 2, 2], step=[1, 1, 1, 1]} : i8[4,2,2,2]#"], True),
        (["%y = slice(%x) {begin=[0, 0, 0, 0], extent=[2, 4, 2, 2], step=[1, 1, 1, 1]} : i8[2,4,2,2]#"], False),
        (["%y = slice(%x) {begin=[3, 0, 0, 0], extent=[4, 4, 2, 2], step=[-1, 1, 1, 1]} : i8[4,4,2,2]#"], False),
        (["%y = concat(%x, %x) {axis=1} : i8[4,8,2,2]#"], True),
        (["%y = concat(%x, %x) {axis=0} : i8[8,4,2,2]#"], False),
        (["%y = reshape(%x) {shape=[8, 2, 2, 2]} : i8[8,2,2,2]#"], True),
        (["%y = reshape(%x) {shape=[1, 16, 2, 2]} : i8[1,16,2,2]#"], False),
        (["%y = relu(%c) : i8[1,4,1,1]#"], False),
        (["%b = relu(%c) : i8[1,4,1,1]#", "%y = mul(%b, %x) : i8[4,4,2,2]#"], True),
        (["%y = depth_to_space(%x) {blocksize=2, mode=DCR} : i8[4,1,4,4]#"], True),
        (["%y = transpose(%x) {perm=[1, 0, 2, 3]} : i8[4,4,2,2]#"], False),
    ],
)
def test_only_what_computes_each_image_by_itself(lines: list[str], is_shared: bool, rng: np.random.Generator) -> None:
    result = lines[-1].split("i8[")[-1].split("]")[0]
    module = called("4,4,2,2", result, *(line.replace(" : ", " [on=device] : ") for line in lines))
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["r"]
    run_pass(ShareBatch(cards=2), module)
    assert shares(module) == (2 if is_shared else 1)
    np.testing.assert_array_equal(interp.run(module, inputs)["r"], expected)


def test_operands_that_images_do_not_share_evenly_keep_a_function_whole() -> None:
    module = called("4,4,2,2", "4,4,2,2", "%y = relu(%x) [on=device] : i8[4,4,2,2]#", other="3,4,2,2")
    run_pass(ShareBatch(cards=2), module)
    assert shares(module) == 1


@pytest.mark.parametrize(
    ("batch", "cards", "clusters", "together", "calls"),
    [
        (8, 1, 4, 0, 1),
        (8, 2, 4, 0, 2),
        (8, 1, 4, 1, 2),
        (8, 1, 4, 2, 1),
        (8, 2, 1, 1, 8),
        (3, 1, 4, 1, 1),
        (6, 2, 2, 2, 2),
        (1, 1, 1, 0, 1),
    ],
)
def test_calls_of_a_batch(batch: int, cards: int, clusters: int, together: int, calls: int) -> None:
    assert calls_of_batch(batch, cards, clusters, together) == calls


@pytest.mark.parametrize(("batch", "cards", "together"), [(3, 2, 0), (1, 2, 0), (10, 1, 2)])
def test_batches_that_do_not_divide(batch: int, cards: int, together: int) -> None:
    with pytest.raises(PassError, match="cannot be shared out evenly"):
        calls_of_batch(batch, cards, 2, together)


def test_the_batch_is_what_inputs_have_in_common() -> None:
    for first, second, batch in (("4,2", "4,3", 4), ("4,2", "2,2", 1), ("1,2", "1,2", 1)):
        module = parse(f"""
  func @main(%x: f32[{first}], %z: f32[{second}]) -> (%x: f32[{first}]) {{
    return %x
  }}""")
        assert batch_of(module) == batch
