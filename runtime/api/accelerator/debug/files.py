"""The files that flags ask for: instructions as text, the partition, layers as CSV, inputs and outputs of a run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ....files.output_file import make_folder, output_file
from ....report.details import details_of
from ..facts import Facts, Network
from ..networks.arrays import Results
from .layers import efficiency


def folder_of(facts: Facts) -> Path:
    """The folder that the flag ``dumpdir`` names; it is made if need be.

    Raises:
        OutputError: it cannot be made.
    """
    folder = Path(facts.flags.dumpdir or ".")
    make_folder(folder)
    return folder


def _write(path: Path, content: str) -> None:
    with output_file(path) as file:
        file.write(content.encode())


def write_instructions(facts: Facts, network: Network) -> None:
    """Letter ``i``: ``instr<card>_<cluster>_<program>.txt``, the instructions of each device program."""
    for index, program in enumerate(each for cards in network.programs.values() for each in cards):
        name = f"instr{facts.card}_{facts.flags.firstcluster}_{index}.txt"
        _write(folder_of(facts) / name, program.disassemble() + "\n")


def write_partition(facts: Facts, network: Network) -> None:
    """Letter ``J``: ``partition.json``, where each layer runs and why; empty where all is in floating point."""
    found = [asdict(op) for op in details_of(network.artifact).placement]
    _write(folder_of(facts) / "partition.json", json.dumps(found, indent=2) + "\n")


def write_layers(facts: Facts, network: Network) -> None:
    """Flag ``breaklayer``: ``layers.csv``, expected against modelled time of each layer on the device."""
    table = efficiency(network)
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.key for column in table.columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.records())
    _write(folder_of(facts) / "layers.csv", text.getvalue())


def write_run(facts: Facts, inputs: list[np.ndarray], results: Results) -> None:
    """Flag ``temporary_save``: ``input0.npy``, ``output0.npy`` and so on, of the latest run."""
    folder = folder_of(facts)
    outputs = [np.stack(images) for images in results]
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for index, array in enumerate(arrays):
            with output_file(folder / f"{kind}{index}.npy") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
