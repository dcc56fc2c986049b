"""Random small accelerators: lanes, memories and DRAM of all sizes, some of them hardly enough."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from tilewright.runtime.machine import Machine, load


def random_machine(rng: np.random.Generator) -> Machine:
    """A machine that is valid, and as odd as a valid one can be."""
    return dataclasses.replace(
        load("s256"),
        name="random",
        input_lanes=int(2 ** rng.integers(2, 6)),
        output_lanes=int(2 ** rng.integers(2, 6)),
        pixel_lanes=int(2 ** rng.integers(0, 4)),
        maps_bytes=int(rng.choice([1024, 2048, 8192, 65536])),
        maps_banks=1,
        weight_bytes=int(rng.choice([2560, 4096, 16384])),
        weight_banks=1,
        accumulator_bytes=int(rng.choice([512, 2048, 16384])),
        accumulator_banks=1,
        parameter_bytes=int(rng.choice([512, 1024, 4096])),
    )


def odd_machine(rng: np.random.Generator) -> Machine:
    """As :func:`random_machine`, with sizes that no power of two divides, odd vector lanes and a shallow queue."""
    machine = random_machine(rng)
    odd = 64 * rng.integers(0, 8, 4)
    return dataclasses.replace(
        machine,
        vector_lanes=int(rng.choice([1, 3, 7, 13, 100])),
        maps_bytes=machine.maps_bytes + int(odd[0]),
        weight_bytes=machine.weight_bytes + int(odd[1]),
        accumulator_bytes=machine.accumulator_bytes + int(odd[2]),
        parameter_bytes=machine.parameter_bytes + int(odd[3]),
        dram_burst_bytes=int(2 ** rng.integers(4, 8)),
        queue_depth=int(rng.integers(1, 9)),
    )


def write_machine(path: Path, machine: Machine) -> str:
    """The machine as a file; its path, as compile options take it."""
    path.write_text(json.dumps({"format": 1, **machine.to_dictionary()}))
    return str(path)
