"""Random small accelerators: lanes, memories and DRAM of all sizes, some of them hardly enough."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from tilewright.runtime.machines.machine import LINE_BYTES, Machine, load


def random_machine(rng: np.random.Generator) -> Machine:
    """A machine that is valid, and as odd as a valid one can be."""
    input_lanes, output_lanes = (int(2 ** rng.integers(2, 6)) for _ in range(2))
    pixel_lanes = int(2 ** rng.integers(0, 4))
    maps, weights = _banks(pixel_lanes * input_lanes), _banks(input_lanes * output_lanes)
    sample = load("s256")
    return dataclasses.replace(
        sample,
        name="random",
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        pixel_lanes=pixel_lanes,
        depthwise_taps=min(sample.depthwise_taps, input_lanes),
        maps_bytes=int(rng.choice([1024, 2048, 8192, 65536])),
        maps_banks=maps,
        weight_bytes=_whole_lines(int(rng.choice([2560, 4096, 16384])), weights),
        weight_banks=weights,
        accumulator_bytes=int(rng.choice([512, 2048, 16384])),
        accumulator_banks=1,
        parameter_bytes=int(rng.choice([512, 1024, 4096])),
    )


def _banks(needed: int) -> int:
    """How many give the array so many bytes a cycle."""
    return -(-needed // LINE_BYTES)


def _whole_lines(size: int, banks: int) -> int:
    """The least size from this one on that the banks divide into lines."""
    return -(-size // (banks * LINE_BYTES)) * banks * LINE_BYTES


def odd_machine(rng: np.random.Generator) -> Machine:
    """As :func:`random_machine`, with sizes that no power of two divides, odd vector lanes and a shallow queue."""
    machine = random_machine(rng)
    odd = 64 * rng.integers(0, 8, 4)
    return dataclasses.replace(
        machine,
        vector_lanes=int(rng.choice([1, 3, 7, 13, 100])),
        maps_bytes=_whole_lines(machine.maps_bytes + int(odd[0]), machine.maps_banks),
        weight_bytes=_whole_lines(machine.weight_bytes + int(odd[1]), machine.weight_banks),
        accumulator_bytes=machine.accumulator_bytes + int(odd[2]),
        parameter_bytes=machine.parameter_bytes + int(odd[3]),
        dram_burst_bytes=int(2 ** rng.integers(4, 8)),
        queue_depth=int(rng.integers(1, 9)),
    )


def write_machine(path: Path, machine: Machine) -> str:
    """The machine as a file; its path, as compile options take it."""
    path.write_text(json.dumps({"format": 1, **machine.to_dictionary()}))
    return str(path)
