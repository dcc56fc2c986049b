"""Strided boxes: overlap and touched units equal what enumerating every byte says."""

from __future__ import annotations

from itertools import product

from property_tests import given, st

from tilewright.runtime.isa.hazards import Box, overlap, simplest, touched_units

Raw = tuple[int, list[tuple[int, int]], int]

STEPS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 24)), max_size=3)
BOXES = st.tuples(st.integers(0, 60), STEPS, st.integers(1, 9))
# Strides of feature maps: blocks of channels, pixels, rows.
MAPS = st.tuples(
    st.integers(0, 60), st.lists(st.tuples(st.integers(1, 4), st.sampled_from([6, 18])), max_size=2), st.integers(1, 4)
)


def every_byte(raw: Raw) -> set[int]:
    start, steps, run = raw
    offsets = product(*(range(0, count * max(stride, 1), max(stride, 1)) for count, stride in steps))
    scale = [1 if stride else 0 for _, stride in steps]
    starts = {start + sum(o * s for o, s in zip(offset, scale, strict=True)) for offset in offsets}
    return {first + byte for first in starts for byte in range(run)}


@given(BOXES)
def test_the_simplest_form_is_the_same_set(raw: Raw) -> None:
    box = simplest(*raw)
    assert every_byte((box.start, list(box.steps), box.run)) == every_byte(raw)
    assert box.stop == max(every_byte(raw)) + 1
    strides = [stride for _, stride in box.steps]
    assert strides == sorted(strides, reverse=True)
    assert all(count > 1 and stride > box.run for count, stride in box.steps)


@given(BOXES, BOXES)
def test_overlap_is_a_shared_byte(a: Raw, b: Raw) -> None:
    expected = bool(every_byte(a) & every_byte(b))
    assert overlap(simplest(*a), simplest(*b)) == expected
    assert overlap(simplest(*b), simplest(*a)) == expected


@given(MAPS, MAPS)
def test_overlap_of_boxes_of_one_map_is_a_shared_byte(a: Raw, b: Raw) -> None:
    assert overlap(simplest(*a), simplest(*b)) == bool(every_byte(a) & every_byte(b))


@given(BOXES, st.sampled_from([2, 3, 4, 16]))
def test_units_are_those_of_the_bytes(raw: Raw, unit: int) -> None:
    box = simplest(*raw)
    expected = sorted({byte // unit for byte in every_byte(raw)})
    assert touched_units(box, unit).tolist() == expected
    if box.divides(unit):
        units = box.in_units(unit)
        assert sorted(every_byte((units.start, list(units.steps), units.run))) == expected


def test_channel_blocks_of_one_map_do_not_overlap_however_large_it_is() -> None:
    """56 rows of 56 pixels of 1024 channels, a quarter of the channels each."""
    steps = ((56, 56 * 1024), (56, 1024))
    quarters = [Box(256 * part, steps, 256) for part in range(4)]
    for a, b in product(quarters, quarters):
        assert overlap(a, b) == (a == b)
    assert overlap(quarters[1], Box(55 * 56 * 1024 + 511, (), 1))
    assert not overlap(quarters[1], Box(55 * 56 * 1024 + 512, (), 512))


def test_what_takes_too_long_counts_as_overlap() -> None:
    """Multiples of 2 and of 4 are never odd, but there are many of them."""
    evens = simplest(0, [(4000, 2 * 4093), (4000, 2 * 4091), (4000, 2 * 4079)], 1)
    assert overlap(evens, evens.moved(9))
