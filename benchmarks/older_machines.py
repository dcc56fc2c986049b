"""Write descriptions of sample machines as they were before a decision changed them, to compile and measure with.

python benchmarks/older_machines.py FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tilewright.runtime.artifact.json_dataclasses import write
from tilewright.runtime.machines.machine import FORMAT_VERSION, Machine, load

BEFORE: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "m4096_4_taps": ("m4096", {"depthwise_taps": 4}),
    "s256_4_taps": ("s256", {"depthwise_taps": 4}),
    "m4096_9_taps": ("m4096", {"depthwise_taps": 9}),
    "s256_9_taps": ("s256", {"depthwise_taps": 9}),
}
"""The sample that each machine has become, and what its fields were (decisions 0103 and 0160)."""


def older_machine(name: str) -> Machine:
    """One of `BEFORE`, as the sample of today but for those fields."""
    sample, fields = BEFORE[name]
    return replace(load(sample), name=name.upper(), **fields)


def write_older_machines(folder: Path) -> dict[str, Path]:
    """A machine file for each, by name; notes on the origin of values, and the energy model, are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.json" for name in BEFORE}
    for name, path in paths.items():
        path.write_bytes(write({"format": FORMAT_VERSION, **older_machine(name).to_dictionary()}))
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write descriptions of sample machines as they were before.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write them; made if there is none")
    for path in write_older_machines(parser.parse_args().folder).values():
        print(path)
