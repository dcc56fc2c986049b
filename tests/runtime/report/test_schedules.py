"""What people read of how the accelerator's work was planned."""

from __future__ import annotations

from dataclasses import replace

from tilewright.runtime.report.details import Schedule, schedule_lines

WHOLE = Schedule("device_0", 4, 1, 0, 0.75, {}, "normal")


def test_plans_in_words() -> None:
    stay = "maps scratchpad for maps that stay there"
    assert schedule_lines([]) == []
    assert schedule_lines([WHOLE, replace(WHOLE, name="device_1")]) == [
        f"4 clusters; planned for the whole machine (effort normal), up to 75% of the {stay}"
    ]
    less = Schedule("device_2", 1, 2, 3, 0.0, {"maps_bytes": 131072, "pixel_lanes": 8}, "thorough")
    assert schedule_lines([WHOLE, less, WHOLE]) == [
        f"2 programs on 4 clusters; planned for the whole machine (effort normal), up to 75% of the {stay}",
        "1 program on one cluster of each of 2 cards, 3 images on each cluster at once; planned as if it had "
        f"maps_bytes 131,072, pixel_lanes 8 (effort thorough), up to 0% of the {stay}",
    ]


def test_of_many_plans_the_most_frequent_ones() -> None:
    every = [replace(WHOLE, clusters=clusters) for clusters in (1, 2, 2, 3, 3, 3, 4, 5)]
    lines = schedule_lines(every)
    assert [line.partition(" on ")[0] for line in lines[:2]] == ["3 programs", "2 programs"]
    assert lines[3:] == ["2 programs by other plans"]
