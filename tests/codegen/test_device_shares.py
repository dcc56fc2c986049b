"""Maps of several images that stay on chip where clusters share the images out: not one byte of the results changes."""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np
import pytest
from before_after import random_inputs
from chip_graphs import random_chip_graph
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.annotations import IMAGES, KEPT, SPLIT
from tilewright.runtime.machines.machine import load

M4096 = load("m4096")


def check_on_chip(seed: int, split: str = "images") -> int:
    """Run a network of several images whose maps can stay on chip; how many do where clusters share images out.

    Args:
        split: whether that is all that they share out, or as far as images divide evenly ``rows`` of these.
    """
    rng = np.random.default_rng(71_000 + seed)
    images, each = int(rng.integers(2, 7)), int(rng.integers(1, 4))
    clusters = -(-images // each) + int(rng.integers(2))
    machine = replace(M4096, clusters=clusters, maps_bytes=int(rng.choice([16, 32, 64, 256])) << 10)
    module = random_chip_graph(rng, images=images)
    if split == "images":
        IMAGES.set(module.main, (images, each))
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    found = run_on_device(module, compile_for_device(module, machine, clusters), machine, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, f"seed {seed}, {clusters} clusters, {name}")
    return sum(
        bool(KEPT.get(op)) and SPLIT.get(op) == split and (split == "images" or gcd(images, clusters) > 1)
        for op in module.ops
    )


@pytest.mark.parametrize("split", ["images", "rows"])
def test_maps_of_several_images_on_chip_change_no_byte(split: str) -> None:
    assert sum(check_on_chip(seed, split) for seed in range(8)) > 8


def test_images_that_are_rows_of_one_leave_the_channels_beside_them_alone() -> None:
    """A map in some channels of a concatenation, which a pointwise convolution reads as one image."""
    check_on_chip(242, "rows")


@pytest.mark.sweep
@pytest.mark.parametrize("split", ["images", "rows"])
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_more_maps_of_several_images(seed: int, split: str) -> None:
    check_on_chip(seed, split)
