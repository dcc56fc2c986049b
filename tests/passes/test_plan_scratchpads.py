"""Addresses on chip: plans that the checker proves, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from small_tile_programs import Chip, with_room
from tile_programs import RandomProgram, random_program

from tilewright.errors import PassError
from tilewright.ir.annotations import ADDRESS, DRAM, SCRATCHPAD_BYTES
from tilewright.ir.core import Function, Op
from tilewright.ir.tile.compute import Combine, LookUp, Pool
from tilewright.ir.tile.places import Buffer, InCluster, Part
from tilewright.ir.tile.transfer import Load, LoadRecord, LoadTable, Move
from tilewright.ir.tile.types import EVERY_CLUSTER
from tilewright.ir.types import DType
from tilewright.ir.verify import verify
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_scratchpads import Place, PlanScratchpads, places_of, plan
from tilewright.passes.device.planning.scratchpads import UNITS, RoundRobin, scratchpads
from tilewright.runtime.machines.machine import load

MACHINE = load("m4096")


@pytest.mark.parametrize("seed", range(6))
def test_plans_are_sound(seed: int) -> None:
    module = random_program(np.random.default_rng(seed), clusters=1 + seed % 3)
    verify(module)
    PlanScratchpads("m4096").run(module)
    # With room for little more than what is live at once, addresses are used again and again.
    needed = {memory: int(1.25 * max(_live(places))) for memory, places in places_of(module.main).items()}
    machine = with_room(
        maps_bytes=needed.get("maps", 0),
        weight_bytes=needed.get("weights", 0),
        accumulator_bytes=needed.get("accumulators", 0),
        parameter_bytes=needed.get("parameters", 0),
    )
    plan(module.main, machine)
    check_scratchpads(module.main)
    for pad in scratchpads(machine):
        used = SCRATCHPAD_BYTES[pad.memory].get(module.main)
        assert used is not None and used <= pad.size


def _live(places: list[Place]) -> list[int]:
    """Bytes that are live when each place is made, whatever the cluster."""
    return [sum(p.size for p in places if p.first <= place.first <= p.last) for place in places]


def whole_places(seed: int, clusters: int) -> Function:
    """A program that writes every place as a whole, and reads each as a whole at its last use."""
    program = RandomProgram(np.random.default_rng(seed), clusters)
    kinds = (program.load, program.convolve, program.depthwise, program.pool, program.look_up, program.resize)
    for _ in range(8):
        kinds[program.integer(0, len(kinds) - 1)]()
    module = program.grow(0)
    plan(module.main, MACHINE)
    check_scratchpads(module.main)
    return module.main


@pytest.mark.parametrize("seed", range(6))
def test_places_that_overlap_are_found_out(seed: int) -> None:
    function = whole_places(seed, 1 + seed % 2)
    tried = 0
    for memory, places in places_of(function).items():
        unit = UNITS[memory]
        for place in places:
            sound = place_address(place)
            for other in places:
                together = place.first <= other.last and other.first <= place.last and place.meets(other)
                # What a buffer has around what is written there belongs to nobody.
                if place is other or not together or any(isinstance(p.op.operator, Buffer) for p in (place, other)):
                    continue
                first, last = place_address(other) - place.size + unit, place_address(other) + other.size - unit
                for address in {max(first, 0), place_address(other), last}:
                    ADDRESS.set(place.op, address)
                    with pytest.raises(PassError):
                        check_scratchpads(function)
                    tried += 1
            ADDRESS.set(place.op, sound)
    check_scratchpads(function)
    assert tried > 5


def place_address(place: Place) -> int:
    address = ADDRESS.get(place.op)
    assert address is not None
    return address


def addresses(function: Function, *operators: type) -> list[int | None]:
    return [ADDRESS.get(op) for op in function.ops if isinstance(op.operator, operators)]


def test_the_scratchpad_is_used_round_and_round() -> None:
    """Places that are stored as soon as they are loaded: the one that has been free for longest comes next."""
    chip = Chip()
    for first in range(0, 12, 2):
        chip.results.append(chip.stored(chip.loaded(2, first), "output", DType.I8))
    function = chip.finished(chip.loaded(2))
    plan(function, with_room(maps_bytes=1024))
    assert addresses(function, Load) == [0, 256, 512, 768, 0, 256, 512]
    check_scratchpads(function)


def test_what_stays_is_gone_around() -> None:
    chip = Chip()
    stays = chip.loaded(3)
    for first in range(0, 8, 2):
        chip.results.append(chip.stored(chip.loaded(2, first), "output", DType.I8))
    function = chip.finished(stays)
    plan(function, with_room(maps_bytes=1024))
    assert addresses(function, Load) == [0, 384, 640, 384, 640]
    check_scratchpads(function)


def test_what_finds_no_room_behind_a_small_tile_begins_at_the_front() -> None:
    chip = Chip()
    chip.results.append(chip.stored(chip.loaded(1), "output", DType.I8))
    function = chip.finished(chip.loaded(4), chip.loaded(4))
    plan(function, with_room(maps_bytes=1024))
    assert addresses(function, Load) == [0, 0, 512]
    check_scratchpads(function)


def test_places_are_packed_where_going_round_leaves_holes() -> None:
    """The map that stays would split the room for the large one."""
    chip = Chip()
    first, stays = chip.loaded(2), chip.loaded(2)
    chip.results.append(chip.stored(first, "output", DType.I8))
    function = chip.finished(chip.loaded(6), stays)
    plan(function, with_room(maps_bytes=1024))
    check_scratchpads(function)


def test_what_is_for_every_cluster_lies_where_all_have_room() -> None:
    chip = Chip()
    chip.clusters = 2
    box = Part(0, (0, 2), (0, 8), (0, 16))
    maps = [chip.add(Load(cluster, False), chip.add(box, chip.x)) for cluster in (0, 1, 1, 0, 1)]
    table = chip.constant(np.zeros(256, np.int8))
    tables = [chip.add(LoadTable(cluster), table) for cluster in (0, 1, 1, EVERY_CLUSTER)]
    looked_up = [chip.add(LookUp(), x, table) for x, table in zip(maps, (*tables, tables[3]), strict=True)]
    function = chip.finished(*looked_up)
    plan(function, MACHINE)
    assert addresses(function, LoadTable) == [0, 0, 256, 512]
    check_scratchpads(function)


def test_a_program_for_which_there_is_no_room() -> None:
    chip = Chip()
    function = chip.finished(chip.loaded(6), chip.loaded(4))
    with pytest.raises(PassError) as caught:
        plan(function, with_room())
    assert caught.value.message == "what is on chip at once does not fit the maps scratchpad"
    assert caught.value.expected == "at most 1024 bytes (small)"
    assert caught.value.found == "1280 bytes in 2 places, 512 of them for %tile_load"


def planned() -> Function:
    """Two maps, one pooled and one looked up in its place."""
    chip = Chip()
    a, b = chip.loaded(2), chip.loaded(3)
    table = chip.add(LoadTable(0), chip.constant(np.zeros(256, np.int8)))
    c = chip.add(LookUp(), b, table, b)
    function = chip.finished(c, chip.add(Pool("maximum", (1, 8), (2, 1), (1, 1), (0, 0), False), a, None))
    plan(function, MACHINE)
    check_scratchpads(function)
    return function


def refused(function: Function, message: str) -> None:
    with pytest.raises(PassError, match=message):
        check_scratchpads(function)


def first_of(function: Function, operator: type) -> Op:
    return next(op for op in function.ops if isinstance(op.operator, operator))


@pytest.mark.parametrize(
    ("address", "message"), [(8, "has no address"), (-16, "leaves the maps"), (10**6, "leaves the maps")]
)
def test_addresses_that_are_none(address: int, message: str) -> None:
    function = planned()
    ADDRESS.set(first_of(function, Load), address)
    refused(function, f"%tile_load {message}")


def test_annotations_that_are_missing() -> None:
    function = planned()
    del first_of(function, Load).annotations[ADDRESS.key]
    refused(function, "%tile_load has no address")
    del function.annotations[SCRATCHPAD_BYTES["maps"].key]
    refused(function, "the tile program has no maps_bytes")


def test_a_result_on_an_operand() -> None:
    function = planned()
    ADDRESS.set(first_of(function, Pool), 128)
    refused(function, "%tile_load does not hold what was written there before this op reads it")


def test_an_op_in_place_of_what_it_reads_is_element_by_element() -> None:
    chip = Chip()
    a = chip.loaded(3)
    head, tail = (chip.add(Part(-1, (first, 2), (0, 8), (0, 16)), a) for first in (0, 1))
    chip.add(Combine("add", -9, 9), tail, head, chip.add(LoadRecord(0)), head)
    function = chip.finished(a)
    plan(function, MACHINE)
    refused(function, "writes over %tile_part, which it reads")
    chip = Chip()
    a = chip.loaded(3)
    chip.add(Pool("maximum", (3, 8), (1, 1), (1, 1), (0, 0), False), a, None, a)
    function = chip.finished(a)
    plan(function, MACHINE)
    refused(function, "writes over %tile_load, which it reads")


@pytest.mark.parametrize("channels", [8, 16])
def test_a_part_that_ends_inside_a_block_is_only_read(channels: int) -> None:
    chip = Chip()
    a = chip.loaded(3)
    part = chip.add(Part(-1, (0, 3), (0, 8), (0, channels)), a)
    table = chip.add(LoadTable(0), chip.constant(np.zeros(256, np.int8)))
    chip.add(LookUp(), part, table, part)
    function = chip.finished(a, chip.add(LookUp(), part, table))
    plan(function, MACHINE)
    if channels == 8:
        refused(function, "the op fills the last block of %tile_lookup, where other channels lie")
    else:
        check_scratchpads(function)


@pytest.mark.parametrize("row", [2, 3])
def test_what_nobody_wrote(row: int) -> None:
    """A row of a buffer whose rows 0 to 2 were written."""
    chip = Chip()
    whole = chip.add(Buffer((4, 8, 16), DType.I8, "maps", 0, 0))
    chip.loaded(3, 0, chip.add(Part(-1, (0, 3), (0, 8), (0, 16)), whole))
    function = chip.finished(chip.add(Part(-1, (row, 1), (0, 8), (0, 16)), whole))
    plan(function, MACHINE)
    if row == 3:
        refused(function, "%tile_part does not hold what was written there")
    else:
        check_scratchpads(function)


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_move_to_all_others_writes_nothing_at_the_sender(is_in_place: bool) -> None:
    """Which reads there what it wrote there itself, or what nobody wrote."""
    chip = Chip()
    chip.clusters = 2
    place = chip.add(Buffer((4, 8, 16), DType.I8, "maps", EVERY_CLUSTER, 0))
    own, other = (chip.add(InCluster(cluster), place) for cluster in range(2))
    chip.add(Move(EVERY_CLUSTER), chip.loaded(4, 0, own if is_in_place else None), place)
    function = chip.finished(other, own)
    plan(function, MACHINE)
    if is_in_place:
        check_scratchpads(function)
    else:
        refused(function, "%tile_in_cluster does not hold what was written there")


@pytest.mark.parametrize("cluster", [0, EVERY_CLUSTER])
@pytest.mark.parametrize("written", ["nothing", "own", "place"])
def test_what_one_cluster_writes_is_in_no_other(cluster: int, written: str) -> None:
    """What lies in all is written by each for itself, but for what is loaded for all, and is old then in the others."""
    chip = Chip()
    chip.clusters = 2
    place = chip.add(Buffer((4, 8, 16), DType.I8, "maps", EVERY_CLUSTER, 0))
    own, other = (chip.add(InCluster(each), place) for each in range(2))
    chip.add(Load(cluster, False), chip.add(Part(0, (0, 4), (0, 8), (0, 16)), chip.x), place)
    if written != "nothing":
        x = own if written == "own" else place
        chip.add(LookUp(), x, chip.add(LoadTable(EVERY_CLUSTER), chip.constant(np.zeros(256, np.int8))), x)
    function = chip.finished(own, other)
    plan(function, MACHINE)
    if cluster == EVERY_CLUSTER and written == "nothing":
        check_scratchpads(function)
    else:
        refused(function, "%tile_in_cluster does not hold what was written there")


def test_a_move_to_one_cluster_from_all_does_not_write_over_what_it_reads() -> None:
    chip = Chip()
    chip.clusters = 2
    place = chip.add(Buffer((5, 8, 16), DType.I8, "maps", EVERY_CLUSTER, 0))
    own, other = (chip.add(InCluster(cluster), place) for cluster in range(2))
    chip.add(Move(EVERY_CLUSTER), chip.loaded(5, 0, own), place)
    head = chip.add(Part(-1, (0, 4), (0, 8), (0, 16)), place)
    tail = chip.add(Part(-1, (1, 4), (0, 8), (0, 16)), other)
    chip.add(Move(1), head, tail)
    function = chip.finished(other)
    plan(function, MACHINE)
    refused(function, "the op writes over %tile_part, which it reads")


@pytest.mark.parametrize("row", range(6))
def test_rows_of_a_ring_are_lost_when_others_come(row: int) -> None:
    chip = Chip()
    ring = chip.add(Buffer((6, 8, 16), DType.I8, "maps", 0, 4))
    for first in (0, 2, 4):
        chip.loaded(2, first, chip.add(Part(-1, (first, 2), (0, 8), (0, 16)), ring))
    function = chip.finished(chip.add(Part(-1, (row, 1), (0, 8), (0, 16)), ring))
    plan(function, MACHINE)
    if row < 2:
        refused(function, "does not hold what was written there")
    else:
        check_scratchpads(function)


def test_rows_of_a_ring_are_read_across_its_end() -> None:
    chip = Chip()
    ring = chip.add(Buffer((6, 8, 16), DType.I8, "maps", 0, 4))
    for first in (0, 3):
        chip.loaded(3, first, chip.add(Part(-1, (first, 3), (0, 8), (0, 16)), ring))
    function = chip.finished(chip.add(Part(-1, (2, 4), (0, 8), (0, 16)), ring))
    plan(function, MACHINE)
    check_scratchpads(function)


def test_maps_in_dram_that_overlap() -> None:
    chip = Chip()
    y = chip.stored(chip.loaded(16), "scratch", DType.I8)
    z = chip.stored(chip.loaded(2), "scratch", DType.I8)
    again = (chip.add(Load(0, False), chip.add(Part(0, (0, 2), (0, 8), (0, 16)), m)) for m in (y, z))
    function = chip.finished(*again)
    plan(function, MACHINE)
    check_scratchpads(function)
    assert y.producer is not None and z.producer is not None
    address = DRAM.get(y.producer)
    assert address is not None
    DRAM.set(z.producer, address)
    refused(function, "%tile_part does not hold what was written there")


def test_a_place_in_every_cluster_lies_where_the_furthest_one_goes_on() -> None:
    room = RoundRobin(100)
    for cluster, sizes in enumerate(((60, 60), (60, 30))):
        for size in sizes:
            address = room.find(cluster, size)
            assert address is not None
            room.take(cluster, address, size)
            room.release(cluster, address, size)
    # Cluster 0 is in its second round, at 60; 90, where cluster 1 is, was given out last in cluster 0's first.
    assert room.find(EVERY_CLUSTER, 10) == 60
