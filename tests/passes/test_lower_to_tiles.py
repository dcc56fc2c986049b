"""Lowering to tile programs changes no byte, and writes the programs that one expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from before_after import random_inputs
from chip_graphs import fuse_by_chance, keep_by_chance, random_chip_graph
from grouped_tests import grouped
from operator_samples import Case, all_cases, operator_of
from quantized_graphs import random_quantized_graph
from random_device_graphs import ON_THE_DEVICE, shift_weights
from random_seeds import seeds

from tilewright.errors import PassError, ResourceError
from tilewright.ir import interp
from tilewright.ir.annotations import CLUSTERS, DRAM, KEPT, LAYER, ON
from tilewright.ir.core import Constant, Function, Module, Value, is_op
from tilewright.ir.feature_map import is_block_by_block, is_of_images, map_shape
from tilewright.ir.op import Operator
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.movement import Concat, Slice
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.ir.text.literals import Literal
from tilewright.ir.tile.places import Buffer, Enter
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.limits import Limit
from tilewright.passes.device.boxes import blocks_made
from tilewright.passes.device.fused_pairs import choose_overwritten
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.lowering import program
from tilewright.passes.device.outline_device import OutlineDevice, device_functions
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.tile_device import TileDevice
from tilewright.passes.placement.device_support import is_weight, reject
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import CHANNEL_BLOCK, load

QUANT = Quantization.per_tensor(0.25, 3)


class Network:
    """``main`` of a module, an op at a time, for the device alone."""

    def __init__(self, rng: np.random.Generator, *shape: int) -> None:
        self.rng = rng
        self.module = Module("network")
        self.function = self.module.add_function(Function("main", [("x", TensorType(shape, DType.I8, QUANT))]))
        self.x = self.function.parameters[0]

    def op(self, name: str, operator: Operator, *operands: Value, shape: tuple[int, ...], **tile: Literal) -> Value:
        """An op with its tile: rows, columns, output blocks and input blocks."""
        op = self.function.append(operator, operands, [TensorType(shape, DType.I8, QUANT)], names=[name], loc=[name])
        op.annotations.update(tile)
        ON.set(op, "device")
        return op.result

    def weights(self, *shape: int) -> Constant:
        type = TensorType(shape, DType.I8, Quantization.per_tensor(2.0**-6))
        return self.module.add_constant("w", self.rng.integers(-9, 10, shape).astype(np.int8), type)

    def planned(self, *results: Value) -> Module:
        self.function.set_results(results)
        ON.set(self.function, "device")
        PlanDeviceMemory().run(self.module)
        return self.module


def check(module: Module, rng: np.random.Generator) -> Counter[str]:
    """Lower a planned module, and compare what it computes before and after; the tile operators by name."""
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    LowerToTiles().run(module)
    for name, array in interp.run(module, inputs).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], name)
    return Counter(op.name for function in device_functions(module) for op in function.ops)


def tile_by_chance(function: Function, rng: np.random.Generator) -> None:
    """Any tile of a few cuts along each axis, and any order."""

    def some(extent: int) -> int:
        return int(rng.choice([extent, -(-extent // 2), int(rng.integers(-(-extent // 4), extent + 1))]))

    for op in function.ops:
        target = map_shape(op.result.type)
        # Attention goes head by head, and a normalisation has whole pixels, or whole groups of channels of an image.
        blocks = op.operator.depth // CHANNEL_BLOCK if is_op(op, Attention) else some(target.blocks)
        blocks = -(-blocks // blocks_made(op)) * blocks_made(op) if is_op(op, SkipLayerNorm) else blocks
        tile = [*target[1:3], blocks] if is_of_images(op) else [some(target.height), some(target.width), blocks]
        is_dense = isinstance(op.operator, Conv) and not is_block_by_block(op)
        tile.append(some(map_shape(op.inputs[0].type).blocks) if is_dense else tile[2])
        op.annotations.update(tile=tuple(tile), stationary=str(rng.choice(["weights", "inputs"])))


def split_by_chance(function: Function, rng: np.random.Generator) -> None:
    """Up to four clusters, which share out rows or channels of a result, or leave it to one."""
    CLUSTERS.set(function, int(rng.integers(2, 5)))
    for op in function.ops:
        ways = ["rows"] if is_op(op, Attention, SkipLayerNorm) else ["rows", "channels"]
        split = str(rng.choice([*(["channels"] if is_of_images(op) else ways), "none"]))
        if split != "none":
            op.annotations["split"] = split


def planned(case: Case, rng: np.random.Generator) -> Module:
    function = case.module.main
    ON.set(function, "device")
    tile_by_chance(function, rng)
    if rng.integers(2):
        split_by_chance(function, rng)
    PlanDeviceMemory().run(case.module)
    return case.module


def runs_on_device(case: Case) -> bool:
    """Whether the device would get the sample; constant maps are inputs there."""
    (op,) = case.module.main.ops
    has_constant_map = any(isinstance(v, Constant) and not is_weight(op, i) for i, v in enumerate(op.operands))
    return reject(op, load("m4096")) is None and not has_constant_map


@grouped(filter(runs_on_device, all_cases()), operator_of)
def test_samples_of_operators_keep_their_bytes(case: Case, rng: np.random.Generator) -> None:
    check(planned(case, rng), rng)


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_random_networks_keep_their_bytes(seed: int) -> None:
    rng = np.random.default_rng(41_000 + seed)
    activations = "u8" if seed % 2 else "i8"
    module = random_quantized_graph(rng, groups=5, activations=activations, makers=ON_THE_DEVICE)
    if seed % 4 > 1:
        shift_weights(module, rng)
    for current in (LegalizeForDevice(), Partition("s256", keep_islands=True), OutlineDevice()):
        current.run(module)
    for function in device_functions(module):
        tile_by_chance(function, rng)
        if seed > 2:
            split_by_chance(function, rng)
    PlanDeviceMemory().run(module)
    check(module, rng)


def convolution(network: Network, x: Value, name: str, outputs: int, **tile: Literal) -> Value:
    """3x3, of as many rows and columns as ``x``."""
    images, channels, *extents = x.type.shape
    operator = Conv((1, 1), (1, 1, 1, 1), (1, 1), 1)
    shape = (images, outputs, *extents)
    return network.op(name, operator, x, network.weights(outputs, channels, 3, 3), shape=shape, **tile)


def small_network(rng: np.random.Generator) -> Module:
    """An image, a convolution in two tiles, branches that are joined, and a sum."""
    network = Network(rng, 1, 3, 6, 5)
    first = convolution(network, network.x, "first", 20, tile=(3, 5, 2, 1), stationary="weights")
    left = convolution(network, first, "left", 16, tile=(6, 5, 1, 1), stationary="inputs")
    window = MaxPool((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    right = network.op("right", window, first, shape=(1, 20, 6, 5), tile=(6, 5, 2, 2))
    joined = network.op("joined", Concat(1), left, right, shape=(1, 36, 6, 5), tile=(6, 5, 3, 3))
    sum = network.op("sum", Add(), joined, joined, shape=(1, 36, 6, 5), tile=(6, 5, 3, 3))
    return network.planned(sum)


def chain(rng: np.random.Generator) -> Module:
    """What stays on chip where there is room: a block with a sum around it, and a pool that rows overlap in."""
    network = Network(rng, 1, 20, 13, 9)
    first = convolution(network, network.x, "first", 40)
    second = convolution(network, first, "second", 40)
    sum = network.op("sum", Add(), second, first, shape=(1, 40, 13, 9))
    depthwise = Conv((1, 1), (1, 1, 1, 1), (1, 1), 40)
    third = network.op("third", depthwise, sum, network.weights(40, 1, 3, 3), shape=(1, 40, 13, 9))
    pool = MaxPool((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))
    pooled = network.op("pooled", pool, third, shape=(1, 40, 7, 5))
    network.function.set_results([convolution(network, pooled, "last", 72)])
    ON.set(network.function, "device")
    return network.module


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_maps_that_stay_on_chip_keep_their_bytes(clusters: int, rng: np.random.Generator) -> None:
    module = chain(rng)
    for current in (TileDevice("m4096", clusters=clusters), PlanDeviceMemory()):
        current.run(module)
    assert sum(bool(KEPT.get(op)) for op in module.main.ops) == 4
    found = check(module, rng)
    assert found["tile_move"] > 4
    # The first layer alone loads its map, and the last one alone stores its result.
    layers = {(op.name, LAYER.get(op)) for op in module.main.ops if op.name in ("tile_load", "tile_store")}
    assert layers == {("tile_load", "first"), ("tile_store", "last")}


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_random_maps_on_chip_keep_their_bytes(seed: int) -> None:
    """Joined, sliced, in groups and of several images, whichever of them stay on chip."""
    rng = np.random.default_rng(43_000 + seed)
    module = random_chip_graph(rng, 12)
    tile_by_chance(module.main, rng)
    if seed % 3:
        split_by_chance(module.main, rng)
    fuse_by_chance(module.main, rng)
    choose_overwritten(module.main)
    assert keep_by_chance(module.main, rng, (0.4, 0.7, 1.0)[seed // 4]) or seed < 4
    PlanDeviceMemory().run(module)
    check(module, rng)


def test_what_is_joined_on_chip_is_written_there_once(rng: np.random.Generator) -> None:
    """Branches are written into the channels of what joins them, and parts of that are read where they lie."""
    network = Network(rng, 1, 32, 6, 5)
    branches = [convolution(network, network.x, name, 32) for name in ("left", "right")]
    joined = network.op("joined", Concat(1), *branches, shape=(1, 64, 6, 5))
    part = network.op("part", Slice((0, 16, 2, 0), (1, 32, 3, 5), (1, 1, 1, 1)), joined, shape=(1, 32, 3, 5))
    network.function.set_results([convolution(network, each, f"of_{each.name}", 16) for each in (joined, part)])
    ON.set(network.function, "device")
    for op in network.function.ops:
        if not op.result.is_returned:
            KEPT.set(op, True)
        op.annotations["tile"] = (6, 5, 4, 4)
    PlanDeviceMemory().run(network.module)
    found = check(network.module, rng)
    assert (found["tile_load"], found["tile_store"], found["tile_pool"]) == (2, 2, 0)


def test_a_small_program(golden: Callable[[str, str], None]) -> None:
    rng = np.random.default_rng(3)
    module = small_network(rng)
    check(module, rng)
    golden("passes/lower_to_tiles.tw", str(module))


def test_only_maps_with_memory_of_their_own_have_addresses(rng: np.random.Generator) -> None:
    module = small_network(rng)
    LowerToTiles().run(module)
    assert all(DRAM.is_at(op) == isinstance(op.operator, (Enter, Buffer)) for op in module.main.ops)


def test_what_is_loaded_again_and_again_is_one_constant(rng: np.random.Generator) -> None:
    """Input stationary: every tile streams both slices of the weights, each in two chunks."""
    network = Network(rng, 1, 32, 4, 4)
    y = convolution(network, network.x, "y", 32, tile=(1, 4, 1, 1), stationary="inputs")
    module = network.planned(y)
    found = check(module, rng)
    assert found["tile_load_weights"] == 4 * 2 * 2 and found["tile_load"] == 4 * 2 * 2
    assert found["tile_load_requantization"] == 4 * 2 and found["tile_requantize"] == 4 * 2
    constants = [c.name for c in module.constants.values()]
    assert len([name for name in constants if name.startswith("y.weights")]) == 4
    assert "w" not in constants


def test_equal_layers_share_their_constants(rng: np.random.Generator) -> None:
    network = Network(rng, 1, 16, 4, 4)
    w = network.weights(16, 16, 1, 1)
    x = network.x
    for name in ("a", "b"):
        x = network.op(name, Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), x, w, shape=x.type.shape, tile=(4, 4, 1, 1))
    module = network.planned(x)
    check(module, rng)
    assert [*module.constants] == ["a.weights", "a.bias", "a.multiplier"]


def test_chunks_of_input_channels_add_to_the_accumulators_of_the_chunk_before(rng: np.random.Generator) -> None:
    network = Network(rng, 1, 48, 4, 4)
    module = network.planned(convolution(network, network.x, "y", 16, tile=(4, 4, 1, 1), stationary="inputs"))
    check(module, rng)
    sums = [op for op in module.main.ops if op.name == "tile_conv"]
    assert [op.operands[2] for op in sums] == [None, sums[0].result, sums[1].result]


def test_pixels_of_several_images_are_rows_of_one(rng: np.random.Generator) -> None:
    network = Network(rng, 5, 16, 2, 3)
    operator, shape = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), (5, 16, 2, 3)
    y = network.op("y", operator, network.x, network.weights(16, 16, 1, 1), shape=shape, tile=(10, 3, 1, 1))
    found = check(network.planned(y), rng)
    assert found["tile_conv"] == 1 and found["tile_reshape"] == 2


def test_rows_of_matrices_are_added_together(rng: np.random.Generator) -> None:
    network = Network(rng, 40, 16, 1, 1)
    y = network.op("y", Add(), network.x, network.x, shape=(40, 16, 1, 1), tile=(40, 1, 1, 1))
    module = network.planned(y)
    assert check(module, rng)["tile_combine"] == 1


def test_every_op_says_whose_piece_it_is(rng: np.random.Generator) -> None:
    module = small_network(rng)
    LowerToTiles().run(module)
    for op in module.main.ops:
        if op.name not in ("tile_enter", "tile_leave"):
            assert op.loc == (LAYER.get(op),)
    layers = list(dict.fromkeys(LAYER.get(op) for op in module.main.ops if LAYER.is_at(op)))
    # Both operands of the concatenation were written into it.
    assert layers == ["first", "left", "right", "sum"]


def test_a_box_that_an_op_reads_twice_has_one_name(rng: np.random.Generator) -> None:
    module = small_network(rng)
    LowerToTiles().run(module)
    found = Counter(op.name for op in module.main.ops if LAYER.get(op) == "sum")
    assert found["tile_load"] == 2 and found["tile_part"] == 1 + found["tile_store"]


def test_a_module_without_tiles_or_addresses_is_refused(rng: np.random.Generator) -> None:
    network = Network(rng, 1, 16, 4, 4)
    convolution(network, network.x, "y", 16)
    ON.set(network.function, "device")
    with pytest.raises(PassError, match="needs a module that is tiled"):
        LowerToTiles().run(network.module)
    for op in network.function.ops:
        op.annotations["tile"] = (4, 4, 1, 1)
    with pytest.raises(PassError, match="needs a module that is soundly planned"):
        LowerToTiles().run(network.module)


def test_a_program_of_too_many_instructions_is_refused(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = small_network(rng)
    monkeypatch.setattr(program, "DEVICE_INSTRUCTIONS", Limit(9, "instructions"))
    with pytest.raises(ResourceError, match="the device program is too long; expected at most 9 instructions"):
        LowerToTiles().run(module)
