"""Tile programs: text, verification, and what the references compute."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.errors import IRError
from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module
from tilewright.ir.tile.compute import Combine, Convolve, LookUp
from tilewright.ir.tile.places import Buffer, Enter, InCluster, Leave, Part
from tilewright.ir.tile.requantization import Requantize
from tilewright.ir.tile.transfer import Load, LoadRecord, LoadRequantization, LoadWeights, Store
from tilewright.ir.tile.types import EVERY_CLUSTER, TileType
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.ir.verify import verify


def program(rng: np.random.Generator) -> tuple[Module, np.ndarray, np.ndarray, np.ndarray]:
    """A convolution of 3x3 in two tiles of rows; with weights, bias and multipliers."""
    module = Module("tiles")
    weights = rng.integers(-127, 128, (5, 4, 3, 3)).astype(np.int8)
    bias, factors = rng.integers(-999, 999, 5).astype(np.int32), rng.uniform(1e-3, 3e-3, 5).astype(np.float32)
    quant = Quantization.per_tensor(0.5, 3)
    function = module.add_function(Function("main", [("x", TensorType((1, 4, 6, 7), DType.I8, quant))]))
    x = function.append(Enter(), function.parameters).result
    y = function.append(Buffer((1, 6, 7, 5), DType.I8, "dram", EVERY_CLUSTER, 0), ()).result
    w = function.append(LoadWeights(0, 0, False, False), [module.add_constant("w", weights)]).result
    scale = [module.add_constant("b", bias), module.add_constant("m", factors)]
    p = function.append(LoadRequantization(0), scale).result
    for first, top in ((0, 0), (3, 2)):
        read = function.append(Part(0, (top, 4), (0, 7), (0, 4)), [x]).result
        loaded = function.append(Load(0, False), [read]).result
        conv = Convolve((3, 7), (1, 1), (1, 1), (first - 1 - top, -1), 3, 0)
        sums = function.append(conv, [loaded, w]).result
        tile = function.append(Requantize(-2, -100, 100), [sums, p]).result
        function.append(Store(), [tile, function.append(Part(0, (first, 3), (0, 7), (0, 5)), [y]).result])
    result = TensorType((1, 5, 6, 7), DType.I8, quant)
    function.set_results(function.append(Leave((1, 5, 6, 7)), [y], [result]).results, ["y"])
    return module, weights, bias, factors


def test_a_program_computes_what_its_layer_does(rng: np.random.Generator) -> None:
    module, weights, bias, factors = program(rng)
    verify(module)
    x = rng.integers(-128, 128, (1, 4, 6, 7)).astype(np.int8)
    padded = np.pad(x[0].astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=3)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    sums = np.einsum("ihwyx,oiyx->ohw", windows, weights.astype(np.int64)) + bias[:, None, None]
    exact = np.rint(sums.astype(np.float32) * factors[:, None, None]) - 2
    (y,) = interp.run(module, {"x": x}).values()
    np.testing.assert_array_equal(y[0], np.clip(exact, -100, 100))


def test_text_comes_back(rng: np.random.Generator) -> None:
    module = program(rng)[0]
    text = print_module(module)
    assert "in maps(0)" in text and "in dram" in text and "in weights(0)" in text
    assert print_module(parse_module(text, blobs(module))) == text


@pytest.mark.parametrize(
    "type", ["i8[4,5,16] in maps(1, ring=3)", "i8[4,5,3] in maps(0, packed)", "u8[1,2,3,4] in dram"]
)
def test_types_come_back(type: str) -> None:
    text = f"module @m {{\n  func @main(%x: {type}) -> (%y: {type}) {{\n    return %x\n  }}\n}}\n"
    module = parse_module(text)
    assert isinstance(module.main.parameters[0].type, TileType)
    assert print_module(module).replace("(%y: ", "(%x: ") == text.replace("(%y: ", "(%x: ")


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ({"memory": "sram"}, "there is no such memory"),
        ({"memory": "dram", "cluster": 0}, "DRAM belongs to no cluster"),
        ({"cluster": -2}, "there is no such cluster"),
        ({"ring": 5}, "there is no such ring"),
    ],
)
def test_places_that_there_are_not(type: dict[str, object], message: str) -> None:
    with pytest.raises(IRError, match=message):
        TileType((4, 5, 16), DType.I8, **type)  # pyright: ignore[reportArgumentType]


def test_a_map_stays_in_its_cluster() -> None:
    function = Function(
        "main", [("x", TileType((4, 4, 16), DType.I8)), ("into", TileType((4, 4, 16), DType.I8, cluster=1))]
    )
    part = function.append(Part(-1, (0, 4), (0, 4), (0, 16)), function.parameters[:1]).result
    with pytest.raises(IRError, match="the place is that of one cluster"):
        function.append(InCluster(1), function.parameters[:1])
    everywhere = function.append(Buffer((4, 4, 16), DType.I8, "maps", EVERY_CLUSTER, 0), ()).result
    with pytest.raises(IRError, match="there is no such cluster; expected from 0, found -1"):
        function.append(InCluster(EVERY_CLUSTER), [everywhere])
    table = function.add_parameter("t", TileType((256,), DType.F64, memory="parameters"))
    with pytest.raises(IRError, match="what is written into lies in another cluster; expected cluster 0"):
        function.append(LookUp(), [part, table, function.parameters[1]])


@pytest.mark.parametrize(("outputs", "part"), [(16, (2, 4)), (16, (12, 8)), (16, (8, -4)), (16, (4, 0)), (32, (8, 8))])
def test_what_is_no_part_of_a_block_of_outputs(outputs: int, part: tuple[int, int]) -> None:
    x, w = TileType((4, 4, 16), DType.I8), TileType((outputs, 16, 1, 1), DType.I8, memory="weights")
    with pytest.raises(IRError, match="'part' is none of one block of outputs"):
        Convolve((4, 4), (1, 1), (1, 1), (0, 0), 0, 0, part).infer(x, w, None)


@pytest.mark.parametrize(("left", "right"), [((4, 3), (4, 1)), ((1, 1), (4, 3)), ((4, 1), (1, 3))])
def test_either_map_may_be_repeated(left: tuple[int, int], right: tuple[int, int], rng: np.random.Generator) -> None:
    record = LoadRecord(0, zero_a=1, zero_b=2, zero_output=3, multiplier_a=1, multiplier_b=-1)
    a, b = (rng.integers(-20, 20, (*extents, 16)).astype(np.int8) for extents in (left, right))
    combine = Combine("add", -128, 127)
    words = record.infer()
    assert combine.infer(TileType(a.shape, DType.I8), TileType(b.shape, DType.I8), words, None).shape == (4, 3, 16)
    found = combine.reference(a, b, record.reference(), None)
    np.testing.assert_array_equal(found, (a.astype(np.int32) - 1) - (b.astype(np.int32) - 2) + 3)


def test_maps_of_other_shapes_are_not_combined() -> None:
    a, b = TileType((4, 3, 16), DType.I8), TileType((2, 3, 16), DType.I8)
    with pytest.raises(IRError, match="the second map has another shape"):
        Combine("add", -128, 127).infer(a, b, LoadRecord(0).infer(), None)
