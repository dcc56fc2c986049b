"""Which maps stay on chip, and what is said of those that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from before_after import parse
from chip_graphs import random_chip_graph

from tilewright.ir.annotations import MAP, ON, TILE, MapPlace
from tilewright.ir.core import Module
from tilewright.passes.device.kept.choose_kept import KeptMaps
from tilewright.passes.device.tile_device import tile_function, tile_of
from tilewright.passes.device.tiling import convolution_price
from tilewright.passes.device.tiling.convolution_price import ROWS_WAITED
from tilewright.passes.device.tiling.tile_searches import TileSearches, set_tile
from tilewright.runtime.machines.machine import load
from tilewright.runtime.report.details import PlacedMap, PlacedOp
from tilewright.runtime.report.placement import Fallback, beyond_chip, placement_table

M4096 = load("m4096")
POINTWISE = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
WINDOWS = POINTWISE.replace("pads=[0, 0, 0, 0]", "pads=[1, 1, 1, 1]")
MAP_TYPE = "i8[1,{channels},8,8]<s=0x1.0p-4, z=3>"


def network(middle: str, result: str) -> Module:
    """%x and %o of 32 channels, and ops that make %y."""
    map = MAP_TYPE.format(channels=32)
    text = f"""
    func @main(%x: {map}, %o: {map}) -> (%y: {result}) {{
      {middle.replace("MAP", map)}
      return %y
    }}
    """
    module = parse(text)
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    return module


def places(module: Module, maps_bytes: int = 1 << 19, clusters: int = 1) -> dict[str, MapPlace | None]:
    tile_function(module.main, replace(M4096, maps_bytes=maps_bytes), clusters=clusters)
    return {op.result.name: MAP.get(op) for op in module.main.ops}


JOINED = """
      %a = sigmoid(%x) : MAP
      %b = tanh(%o) : MAP
      %c = concat(%a, %b) {axis=1} : WIDE
      %y = sigmoid(%c) : WIDE
"""


def test_what_is_joined_lies_in_the_result_on_chip() -> None:
    wide = MAP_TYPE.format(channels=64)
    found = places(network(JOINED.replace("WIDE", wide), wide), clusters=2)
    assert found["a"] == found["b"] == MapPlace("chip", (4, 4), "c", "")
    assert found["c"] == MapPlace("chip", (4, 4), "", "")
    assert found["y"] == MapPlace("dram", (), "", "leaves the device")


def test_maps_may_fill_all_but_a_sixteenth() -> None:
    """Those of dense blocks do at their widest layers, and all of a block lies in one map."""
    half, wide = (MAP_TYPE.format(channels=channels) for channels in (112, 224))
    module = parse(f"""
    func @main(%x: {half}, %o: {half}) -> (%y: {wide}) {{
      {JOINED.replace("WIDE", wide).replace("MAP", half)}
      return %y
    }}""")
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    found = places(module, maps_bytes=1 << 14)
    assert found["c"] == MapPlace("chip", (8,), "", "")


@pytest.mark.parametrize("clusters", [1, 4])
def test_rows_of_products_stay_on_chip(clusters: int) -> None:
    """As pixels of their own they lie there as the function between the products wants them."""
    rows = "i8[128,48,1,1]<s=0x1.0p-4, z=3>"
    module = parse(f"""
    const @w : i8[48,48,1,1]<s=0x1.0p-5, z=0> = [{", ".join(["1"] * 48 * 48)}]
    func @main(%x: {rows}) -> (%y: {rows}) {{
      %a = conv(%x, @w, _) {{{POINTWISE}}} : {rows}
      %g = gelu(%a) : {rows}
      %y = conv(%g, @w, _) {{{POINTWISE}}} : {rows}
      return %y
    }}""")
    for each in (module.main, *module.main.ops):
        ON.set(each, "device")
    found = places(module, clusters=clusters)
    assert found["a"] == found["g"] == MapPlace("chip", (128 // clusters,) * clusters, "", "")


@pytest.mark.parametrize("first", ["sigmoid(%x)", f"conv(%x, @w, _) {{{POINTWISE}}}"], ids=("vector", "image"))
def test_a_convolution_begins_with_the_first_rows_of_a_map_on_chip(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """As many pixels in tiles of all rows would wait for all that makes the map, or for all of an image."""
    map = "i8[1,32,32,32]<s=0x1.0p-4, z=3>"
    text = f"""
    const @w : i8[32,32,1,1]<s=0x1.0p-6, z=0> = [{", ".join(["1"] * 32 * 32)}]
    func @main(%x: {map}) -> (%y: {map}) {{
      %a = {first} : {map}
      %b = conv(%a, @w, _) {{{POINTWISE}}} : {map}
      %y = sigmoid(%b) : {map}
      return %y
    }}"""
    rows: list[int] = []
    for waited in (ROWS_WAITED, 0.0):
        monkeypatch.setattr(convolution_price, "ROWS_WAITED", waited)
        module = parse(text)
        for each in (module.main, *module.main.ops):
            ON.set(each, "device")
        tile_function(module.main, M4096, clusters=4)
        (found,) = (TILE.get(op) for op in module.main.ops if op.result.name == "b")
        assert found is not None
        rows.append(found[0])
    assert rows[0] < rows[1]


@pytest.mark.parametrize(("attributes", "size"), [(POINTWISE, 1), (WINDOWS, 3)], ids=("short", "long"))
def test_only_beside_little_work_an_image_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, attributes: str, size: int
) -> None:
    """An image takes 502 cycles, and products of its pixels 512 of the array, those of windows nine times that."""
    map = "i8[1,32,32,32]<s=0x1.0p-4, z=3>"
    text = f"""
    const @w : i8[32,32,1,1]<s=0x1.0p-6, z=0> = [{", ".join(["1"] * 32 * 32)}]
    const @v : i8[32,32,{size},{size}]<s=0x1.0p-6, z=0> = [{", ".join(["1"] * 32 * 32 * size * size)}]
    func @main(%x: {map}) -> (%y: {map}) {{
      %a = conv(%x, @w, _) {{{POINTWISE}}} : {map}
      %b = conv(%a, @v, _) {{{attributes}}} : {map}
      %y = sigmoid(%b) : {map}
      return %y
    }}"""
    tiles: list[object] = []
    for waited in (1.0, 0.0):
        monkeypatch.setattr(convolution_price, "ROWS_WAITED", waited)
        module = parse(text)
        for each in (module.main, *module.main.ops):
            ON.set(each, "device")
        tile_function(module.main, M4096, clusters=4)
        tiles += [TILE.get(op) for op in module.main.ops if op.result.name == "b"]
    assert (tiles[0] == tiles[1]) == (size == 3)


@pytest.mark.parametrize(("size", "waited"), [(12, 0.0), (32, 502.0)])
def test_short_images_are_not_waited_for(size: int, waited: float) -> None:
    """Of two latencies of the DRAM, 120 cycles, one of 12 by 12 pixels takes 71."""
    map = f"i8[1,32,{size},{size}]<s=0x1.0p-4, z=3>"
    module = parse(f"""
    const @w : i8[32,32,1,1]<s=0x1.0p-6, z=0> = [{", ".join(["1"] * 32 * 32)}]
    func @main(%x: {map}) -> (%y: {map}) {{
      %a = conv(%x, @w, _) {{{POINTWISE}}} : {map}
      %y = conv(%a, @w, _) {{{POINTWISE}}} : {map}
      return %y
    }}""")
    first, second = module.main.ops
    assert convolution_price.image_waited(first, M4096, 4) == 0
    assert convolution_price.image_waited(second, M4096, 4) == pytest.approx(waited, abs=1)


def test_what_is_too_large_is_told_with_its_size() -> None:
    wide = MAP_TYPE.format(channels=64)
    found = places(network(JOINED.replace("WIDE", wide), wide), maps_bytes=2048)
    place = found["c"]
    assert place is not None and place.memory == "dram"
    assert place.why == "is too large: it needs 4096 bytes of a cluster, and 2048 are free at %c"


@pytest.mark.parametrize(
    ("middle", "channels", "why"),
    [
        (
            "%a = sigmoid(%x) : MAP\n%y = slice(%a) {begin=[0, 8, 0, 0], extent=[1, 16, 8, 8], step=[1, 1, 1, 1]} : Y",
            16,
            "is read by slice %y, which does not begin at a multiple of 16 channels",
        ),
        (
            "%s = slice(%x) {begin=[0, 0, 0, 0], extent=[1, 8, 8, 8], step=[1, 1, 1, 1]} : S\n"
            "%a = concat(%s, %o) {axis=1} : Y\n%y = sigmoid(%a) : Y",
            40,
            "is made by concat, whose operands do not begin at multiples of 16 channels",
        ),
    ],
)
def test_what_does_not_begin_at_a_block_is_told(middle: str, channels: int, why: str) -> None:
    result, small = MAP_TYPE.format(channels=channels), MAP_TYPE.format(channels=8)
    found = places(network(middle.replace("S\n", f"{small}\n").replace(": Y", f": {result}"), result))
    assert found["a"] == MapPlace("dram", (), "", why)


def test_places_as_users_read_them() -> None:
    assert PlacedMap("a", "chip", (4, 4), "c", "").place == "4 + 4 rows, in %c"
    assert PlacedMap("a", "chip", (4, 4, 4, 4), "c" * 80, "").place == f"4 × 4 rows, in %{'c' * 12}…{'c' * 11}"
    assert PlacedMap("a", "chip", (4, 4, 3), "", "").place == "4 + 4 + 3 rows"
    assert PlacedMap("a", "chip", (8,), "", "").place == "8 rows"
    assert PlacedMap("a", "chip", (1,), "", "").place == "1 row"
    assert PlacedMap("a", "ring", (3,), "", "").place == "a ring of 3 rows"


def test_what_is_not_on_chip_is_listed_by_reason() -> None:
    why = "goes into the op that reads it"
    maps = [
        PlacedMap("a", "dram", (), "", "leaves the device"),
        PlacedMap("b", "none", (), "", why),
        PlacedMap("c", "none", (), "", why),
        PlacedMap("d", "chip", (8,), "", ""),
    ]
    assert beyond_chip(maps) == [Fallback(why, 2, ("b", "c")), Fallback("leaves the device", 1, ("a",))]
    ops = [PlacedOp(each.name, "conv", (), "device", "it fits", "it fits", "", "", 1, False) for each in maps]
    ops.append(PlacedOp("e", "softmax", (), "cpu", "no softmax", "no softmax", "", "", 0, False))
    found = {row["name"]: row["map"] for row in placement_table(ops, maps).records()}
    assert found == {"a": "DRAM (3)", "b": "nowhere (2)", "c": "nowhere (2)", "d": "8 rows", "e": ""}


@pytest.mark.parametrize("seed", range(4))
def test_more_scratchpad_chooses_nothing_that_costs_more(seed: int) -> None:
    costs: list[float] = []
    for kibibytes in (8, 11, 16, 24, 48, 96):
        module = random_chip_graph(np.random.default_rng(95_000 + seed))
        machine = replace(M4096, maps_bytes=kibibytes << 10)
        searches = TileSearches(machine)
        for op in module.main.ops:
            set_tile(op, tile_of(op, machine, searches))
        chosen = KeptMaps(module.main, machine, 1, searches).choose(1.0)
        assert chosen is not None
        costs.append(chosen.cost)
    assert costs == sorted(costs, reverse=True)
