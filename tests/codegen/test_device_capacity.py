"""More of anything never makes a network slower: exactly, by the price of its tiles and in modelled time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from before_after import parse
from random_machines import write_machine

from tilewright.codegen.device.program import assemble
from tilewright.compiler.device import plans
from tilewright.compiler.device.plans import AXES, choose_plans
from tilewright.compiler.pipeline import schedule_pipeline, tile_pipeline
from tilewright.errors import PassError
from tilewright.ir.annotations import ON, PLAN
from tilewright.ir.core import Function, Module, Op
from tilewright.ir.text.parser import parse_module
from tilewright.ir.text.printer import blobs, print_module
from tilewright.passes.base import Record
from tilewright.passes.device.boxes import tile_annotation
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.order_tiles import Orders
from tilewright.passes.device.planning.plan_scratchpads import PlanScratchpads
from tilewright.passes.device.tiling.candidates import Misfit, Tile
from tilewright.passes.device.tiling.tile_search import TileSearch
from tilewright.runtime.machines import machine

S256, M4096 = machine.load("s256"), machine.load("m4096")


def priced_tile(op: Op, current: machine.Machine) -> tuple[float, Tile] | Misfit:
    """What the tile of an op that costs least costs on one cluster, or why there is none."""
    return TileSearch(op, current, clusters=1).cheapest(current.maps_bytes)


SIZES = ("maps_bytes", "weight_bytes", "accumulator_bytes", "parameter_bytes")

Q = "<s=0x1.0p-4, z=3>"
BLOCKS = {"late": (7, 80, 160, 1), "stride": (28, 32, 144, 2)}
"""Size of the map, channels, channels inside, stride."""


def block(size: int, channels: int, inner: int, stride: int) -> Module:
    """A widening, a depthwise and a narrowing convolution, and where the shape allows it a sum with the input."""
    out = size // stride
    zeros = {"a": (inner, channels, 1), "b": (inner, 1, 3), "c": (channels, inner, 1)}
    weights = "\n".join(
        f"  const @{name} : i8[{o},{i},{k},{k}]<s=0x1.0p-6, z=0> = {[0] * (o * i * k * k)}"
        for name, (o, i, k) in zeros.items()
    )

    def conv(group: int, pad: int, stride: int) -> str:
        sizes = f"strides=[{stride}, {stride}], pads=[{pad}, {pad}, {pad}, {pad}], dilations=[1, 1]"
        return f'{{{sizes}, group={group}, act="none", act_args=[]}}'

    wide, narrow = f"i8[1,{inner},{size},{size}]{Q}", f"i8[1,{channels},{out},{out}]{Q}"
    joins = f"%y = add(%p, {'%x' if stride == 1 else '%p'}) : {narrow}"
    return parse(f"""
{weights}
  func @main(%x: i8[1,{channels},{size},{size}]{Q}) -> (%y: {narrow}) {{
    %e = conv(%x, @a, _) {conv(1, 0, 1)} : {wide}
    %d = conv(%e, @b, _) {conv(inner, 1, stride)} : i8[1,{inner},{out},{out}]{Q}
    %p = conv(%d, @c, _) {conv(1, 0, 1)} : {narrow}
    {joins}
    return %y
  }}""")


def larger(device: machine.Machine, rng: np.random.Generator) -> machine.Machine:
    """With one or more scratchpads twice as large."""
    limits = {"maps_bytes": 1 << 20, "weight_bytes": 1 << 20, "accumulator_bytes": 1 << 20, "parameter_bytes": 1 << 18}
    sizes = {name: min(2 * getattr(device, name), limits[name]) for name in SIZES if rng.random() < 0.5}
    return replace(device, **sizes)


def small(device: machine.Machine) -> machine.Machine:
    return replace(device, maps_bytes=1 << 14, weight_bytes=1 << 15, accumulator_bytes=1 << 13, parameter_bytes=1 << 12)


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("name", BLOCKS)
def test_more_memory_never_raises_the_price_of_the_best_tile(device: machine.Machine, name: str) -> None:
    rng = np.random.default_rng(1)
    module = block(*BLOCKS[name])
    for op in module.main.ops:
        current, before = small(device), float("inf")
        for _ in range(6):
            found = priced_tile(op, current)
            price = float("inf") if isinstance(found, Misfit) else found[0]
            assert price <= before, current
            current, before = larger(current, rng), price
        assert before < float("inf")


def fastest(name: str, device: machine.Machine, folder: Path, effort: str = "thorough") -> float:
    """Cycles of a block that is compiled for a machine and all its clusters."""
    file = write_machine(folder / "machine.json", device)
    module = block(*BLOCKS[name])
    for owner in (module.main, *module.ops):
        ON.set(owner, "device")
    schedule, tiles = schedule_pipeline(file), tile_pipeline(file)
    return choose_plans(module, device, schedule, tiles, device.clusters, effort)["main"].cycles


LEAST = replace(
    M4096,
    clusters=1,
    maps_bytes=1 << 16,
    weight_bytes=1 << 16,
    accumulator_bytes=1 << 16,
    parameter_bytes=1 << 13,
    dram_bytes_per_second=4 * 10**9,
)
"""As small as a machine can be that `thorough` knows."""


def test_a_network_compiled_for_a_better_machine_is_never_slower(tmp_path: Path) -> None:
    rng, name = np.random.default_rng(4), "late"
    device, times = LEAST, [fastest(name, LEAST, tmp_path)]
    for axis in _shuffled(rng)[:4]:
        device = replace(device, **{field: 2 * getattr(device, field) for field in axis})
        times.append(fastest(name, device, tmp_path))
    assert times == sorted(times, reverse=True)
    assert times[-1] < 0.7 * times[0]


def test_small_programs_have_tiles_that_the_engine_finds_faster_and_the_plan_says_them() -> None:
    module = block(*BLOCKS["late"])
    for owner in (module.main, *module.ops):
        ON.set(owner, "device")
    schedule, tiles = schedule_pipeline("m4096"), tile_pipeline("m4096")
    without = choose_plans(module, M4096, schedule, tiles, 4, "quick")["main"]
    found = choose_plans(module, M4096, schedule, tiles, 4)["main"]
    assert not without.plan.tiles
    assert found.plan.tiles
    assert found.cycles < without.cycles
    # What is printed has it, and whoever makes the schedule anew by the plan makes the same instructions.
    again = parse_module(print_module(module), blobs(module))
    assert PLAN.get(again.main) == found.plan
    schedule.run(again)
    assert [op.annotations for op in again.main.ops] == [op.annotations for op in found.function.ops]
    tiles.run(again)
    made = assemble(again.main, M4096).finish().program
    assert made.to_bytes() == found.assembled.finish().program.to_bytes()


@pytest.mark.parametrize("pixels", [16, 69])
def test_other_tiles_of_exchanged_channels_and_pixels_are_of_whole_blocks(pixels: int) -> None:
    """Half of the rows of a tile are rounded up to what a tile can have."""
    given, exchanged = (f"i8[1,{extents},1]<s=0x1.0p-4, z=3>" for extents in (f"16,{pixels}", f"{pixels},16"))
    module = parse_module(
        f"""module @m {{
  func @main(%x: {given}) -> (%y: {exchanged}) [on=device] {{
    %a = max(%x, %x) [on=device] : {given}
    %t = transpose(%a) {{perm=[0, 2, 1, 3]}} [on=device] : {exchanged}
    %y = max(%t, %t) [on=device] : {exchanged}
    return %y
  }}
}}""",
        {},
    )
    found = choose_plans(module, M4096, schedule_pipeline("m4096"), tile_pipeline("m4096"), 4)["main"]
    (exchange,) = (op for op in found.function.ops if op.name == "transpose")
    assert tile_annotation(exchange)[0] % 16 == 0


def test_mistakes_in_other_tiles_are_no_misfits(monkeypatch: pytest.MonkeyPatch) -> None:
    module, cut = block(*BLOCKS["late"]), LowerToTiles.apply
    for owner in (module.main, *module.ops):
        ON.set(owner, "device")

    def wrong(self: LowerToTiles, given: Module, record: Record) -> bool:
        plan = PLAN.get(given.main)
        assert plan is not None
        if plan.tiles:
            raise PassError("a mistake")
        return cut(self, given, record)

    monkeypatch.setattr(LowerToTiles, "apply", wrong)
    with pytest.raises(PassError, match="a mistake"):
        choose_plans(module, M4096, schedule_pipeline("m4096"), tile_pipeline("m4096"), 4)


def _shuffled(rng: np.random.Generator) -> list[tuple[str, ...]]:
    """What to double, one after the other."""
    every = [*AXES, ("clusters",)]
    return [every[index] for index in rng.permutation(len(every))]


def test_prices_that_are_too_low_rule_no_plan_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer clusters are faster here; where prices say otherwise, that is looked at again."""
    device = replace(LEAST, clusters=4)
    wanted = fastest("late", device, tmp_path, "normal")
    monkeypatch.setattr(plans, "_FAR", 1e-9)
    assert fastest("late", device, tmp_path, "normal") == wanted


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(12))
def test_many_better_machines(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    name = str(rng.choice([*BLOCKS]))
    device, times = LEAST, [fastest(name, LEAST, tmp_path)]
    for axis in (*_shuffled(rng), *_shuffled(rng)[:2]):
        device = replace(device, **{field: 2 * getattr(device, field) for field in axis})
        times.append(fastest(name, device, tmp_path))
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("name", BLOCKS)
def test_more_clusters_are_never_slower_by_default(name: str, tmp_path: Path) -> None:
    times = [fastest(name, replace(M4096, clusters=clusters), tmp_path, "normal") for clusters in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)


def test_small_pieces_of_bursts_are_paid_for() -> None:
    """A map whose channels are cut moves in runs of 16 bytes, each of which takes a burst: that is no bargain."""
    module = block(28, 32, 144, 2)
    for op in module.main.ops:
        found = priced_tile(op, M4096)
        assert not isinstance(found, Misfit)
        coarse = priced_tile(op, replace(M4096, dram_burst_bytes=1024))
        assert not isinstance(coarse, Misfit)
        assert coarse[0] > found[0]


def test_drafts_that_cannot_be_the_fastest_are_left_before_they_are_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered: list[int] = []
    arrange = Orders.arrange
    monkeypatch.setattr(Orders, "arrange", lambda *given: ordered.append(1) or arrange(*given))
    found = fastest("late", M4096, tmp_path, "normal")
    monkeypatch.setattr("tilewright.compiler.device.plans._Drafts._is_slower", lambda *_: False)
    few = len(ordered)
    assert fastest("late", M4096, tmp_path, "normal") == found
    assert few < len(ordered) - few


def test_near_orders_are_compared_with_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafted: list[tuple[str, list[str]]] = []

    def arrange(self: Orders, function: Function, which: str) -> float:
        ops = [*function.ops]
        drafted.append((which, [op.name for op in ops]))
        load = next(number for number in reversed(range(len(ops))) if ops[number].name == "tile_load_weights")
        function.move_before(ops[load], ops[load - 1])
        return 0.001

    monkeypatch.setattr(Orders, "arrange", arrange)
    monkeypatch.setattr(Orders, "written", 1.0)
    fastest("stride", M4096, tmp_path, "quick")
    assert [which for which, _ in drafted] == ["tiles", "layers", "written"]
    # Each begins with what is written, whatever the one before made of it.
    assert drafted[0][1] == drafted[1][1] == drafted[2][1]
    written = [*drafted]
    drafted.clear()

    # The second order does not fit on chip: that says nothing of the first and the third.
    place = PlanScratchpads.apply

    def apply(self: PlanScratchpads, module: Module, record: Record) -> bool:
        if drafted[-1][0] == "layers":
            raise PassError("too large")
        return place(self, module, record)

    monkeypatch.setattr(PlanScratchpads, "apply", apply)
    fastest("stride", M4096, tmp_path, "quick")
    assert drafted == written


def test_orders_that_cannot_be_the_best_are_not_made_into_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time that orders are made in, 1 % more than the best; and what stays as it is written is drafted once."""
    gains: dict[str, float] = {}
    drafted: list[str] = []
    make = plans._Drafts._make
    monkeypatch.setattr(Orders, "arrange", lambda _, function, which: gains[which])
    monkeypatch.setattr(plans._Drafts, "_make", lambda *given: drafted.append(given[-1].order) or make(*given))

    def orders(written: float, tiles: float, layers: float) -> list[str]:
        monkeypatch.setattr(Orders, "written", written)
        gains.update(tiles=tiles, layers=layers, written=0.0)
        drafted.clear()
        fastest("stride", M4096, tmp_path, "quick")
        return drafted

    gains |= {"tiles": 0.0, "layers": 0.0}
    monkeypatch.setattr(Orders, "written", 1.0)
    cycles = fastest("stride", M4096, tmp_path, "quick")
    assert orders(1.005 * cycles, 0.01, 0.01) == ["tiles", "layers", "written"]
    assert orders(1.02 * cycles, 0.1, 0.02) == ["tiles", "layers"]
    assert orders(1.02 * cycles, 0.1, 0.005) == ["tiles"]
    assert orders(1.005 * cycles, 0.1, 0.0) == ["tiles", "written"]
    assert orders(1.005 * cycles, 0.0, 0.0) == ["tiles"]


def test_what_goes_wrong_in_an_order_names_its_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("arrange", "__init__"):
        monkeypatch.setattr(Orders, each, lambda *_: 1 // 0)
        with pytest.raises(PassError, match=r"^order_tiles: internal error: ZeroDivisionError: .* TILEWRIGHT_DUMP="):
            fastest("stride", M4096, tmp_path, "quick")
