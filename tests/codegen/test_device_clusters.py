"""Networks on several clusters: not one byte of the results changes, with maps on chip and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from before_after import random_inputs
from chip_graphs import random_chip_graph
from device_runs import compile_for_device, run_on_device

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.errors import MachineError
from tilewright.ir import interp
from tilewright.ir.annotations import KEPT
from tilewright.runtime.machines.machine import load

M4096, S256, U250 = load("m4096"), load("s256"), load("u250")


def check_on_chip(seed: int, large: bool = False) -> int:
    """Run a random network of maps that can stay on chip; how many did."""
    rng = np.random.default_rng(91_000 + seed)
    clusters, maps = 1 + seed % 4, int(rng.choice([16, 32, 64])) << 10
    machine = replace(M4096, maps_bytes=maps) if rng.integers(2) else replace(S256, clusters=4, maps_bytes=maps)
    if large:
        clusters, machine = U250.clusters, U250
    module = random_chip_graph(rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    compiled = compile_for_device(module, machine, clusters)
    found = run_on_device(module, compiled, machine, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, f"seed {seed}, {clusters} clusters, {name}")
    return sum(bool(KEPT.get(op)) for op in module.ops)


def test_maps_on_chip_change_no_byte() -> None:
    assert sum(check_on_chip(seed) for seed in range(8)) > 12


def test_a_large_machine_changes_no_byte() -> None:
    assert sum(check_on_chip(seed, large=True) for seed in range(3)) > 6


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_more_maps_on_chip(seed: int) -> None:
    check_on_chip(seed)


def test_a_network_on_all_clusters_is_the_same_network(tmp_path: Path, rng: np.random.Generator) -> None:
    calibration = rng.uniform(0, 1, (4, 1, 8, 8)).astype(np.float32)
    results: list[list[np.ndarray]] = []
    for machine, clusters in (("m4096", 1), ("m4096", 4), ("u250", 8)):
        out = tmp_path / f"{machine}_{clusters}.tw"
        how = {"precision": "int8", "calibration": calibration, "clusters": clusters, "machine": machine}
        tilewright.compile(MODEL, output=out, **how)
        with tilewright.load(out, engine="device") as network:
            results.append([*network.run({"image": calibration[:1]}).values()])
    for one, *others in zip(*results, strict=True):
        for each in others:
            np.testing.assert_array_equal(one, each)


def test_more_clusters_than_there_are(tmp_path: Path) -> None:
    calibration = np.zeros((1, 1, 8, 8), np.float32)
    message = "--clusters: out of range for machine M4096; expected 1 to 4, found 5"
    with pytest.raises(MachineError, match=message):
        tilewright.compile(
            MODEL, output=tmp_path / "5.tw", precision="int8", calibration=calibration, machine="m4096", clusters=5
        )
