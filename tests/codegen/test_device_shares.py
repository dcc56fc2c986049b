"""Batches shared out over cards and clusters: not one byte of the results changes, on odd machines, in any mode."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from pathlib import Path

import numpy as np
import pytest
from before_after import clone, random_inputs
from chip_graphs import random_chip_graph
from device_runs import compile_for_device, run_on_device
from quantized_graphs import random_quantized_graph
from random_device_graphs import ON_THE_DEVICE
from random_machines import odd_machine, write_machine

from tilewright.ir import interp
from tilewright.ir.annotations import IMAGES, KEPT, SPLIT
from tilewright.ir.core import Constant, Module, Op, Value, is_op
from tilewright.ir.ops.call import Call
from tilewright.ir.verify import verify
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.outline_device import OutlineDevice
from tilewright.passes.device.share_batch import ShareBatch
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import Machine, load

M4096 = load("m4096")


def call_on_device(module: Module, op: Op[Call], arrays: list[np.ndarray], machine: Machine) -> list[np.ndarray]:
    """The results of a call, each share on the engine; tells of ops that images were shared out for."""
    function, shares = module.functions[op.operator.callee], op.operator.shares
    alone = Module(function.name)
    alone.constants, alone.functions["main"] = module.constants, function
    compiled = compile_for_device(alone, machine, machine.clusters)
    found: list[dict[str, np.ndarray]] = []
    for share in range(shares):
        arguments = {
            value.name: array if array.shape == value.type.shape else np.split(array, shares)[share]
            for value, array in zip(function.parameters, arrays, strict=True)
        }
        found.append(run_on_device(alone, compiled, machine, arguments))
    return [np.concatenate([each[name] for each in found]) for name in function.result_names]


def check(seed: int, folder: Path, groups: int) -> tuple[int, int]:
    """How many calls are shared out, and how many ops have their images shared out over clusters."""
    rng = np.random.default_rng(70_000 + seed)
    clusters, cards, each = int(rng.integers(1, 5)), int(rng.integers(1, 3)), int(rng.integers(0, 3))
    rounds = int(rng.integers(1, 3))
    images = cards * (clusters * each * rounds if each else int(rng.integers(1, 4)))
    machine = replace(odd_machine(rng), clusters=clusters)
    path = write_machine(folder / "machine.json", machine)
    module = random_quantized_graph(
        rng, groups=groups, activations=str(rng.choice(["i8", "u8"])), makers=ON_THE_DEVICE, images=images
    )
    shared = clone(module)
    for current in (LegalizeForDevice(), Partition(path, keep_islands=True), OutlineDevice()):
        current.run(shared)
    ShareBatch(cards=cards, clusters=clusters, images_per_cluster=each).run(shared)
    verify(shared)
    inputs = random_inputs(module, rng)
    values: dict[Value, np.ndarray] = {p: inputs[p.name] for p in shared.main.parameters}

    def read(value: Value) -> np.ndarray:
        return value.array if isinstance(value, Constant) else values[value]

    calls = by_images = 0
    for op in shared.main.ops:
        arrays = [read(v) if v is not None else None for v in op.operands]
        results = interp.run_op(shared, op, arrays)
        values.update(zip(op.results, results, strict=True))
        if is_op(op, Call):
            calls += op.operator.shares > 1
            found = call_on_device(shared, op, [array for array in arrays if array is not None], machine)
            by_images += sum(SPLIT.get(o) == "images" for o in shared.functions[op.operator.callee].ops)
            for array, expected in zip(found, results, strict=True):
                np.testing.assert_array_equal(array, expected, f"seed {seed}")
    for name, expected in interp.run(module, inputs).items():
        value = shared.main.results[shared.main.result_names.index(name)]
        np.testing.assert_array_equal(read(value), expected, f"seed {seed}, {name}")
    return calls, by_images


def test_shares_change_no_byte(tmp_path: Path) -> None:
    calls, by_images = np.sum([check(seed, tmp_path, groups=6) for seed in range(10)], axis=0)
    assert calls > 3
    assert by_images > 3


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


@pytest.mark.sweep
@pytest.mark.parametrize("split", ["images", "rows"])
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_more_maps_of_several_images(seed: int, split: str) -> None:
    check_on_chip(seed, split)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 300))
def test_many_more_shares(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, groups=9)
