"""What an object of the Accelerator API prints and writes as its flags ask: the one place that does."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...artifact.artifact import Artifact
from ...artifact.manifest import TensorSpec
from ...files.output_file import make_folder, write_file
from ...report.details import details_of
from . import debug_text
from .facts import Facts, Network
from .networks.arrays import Image, Results, flattened

_TOLD = {
    "n": ("layers", debug_text.layer_list),
    "s": ("strategy", debug_text.strategy),
    "Q": ("number formats", debug_text.formats),
    "p": ("instructions", debug_text.instruction_counts),
    "a": ("memory traffic", debug_text.transfers),
    "S": ("instructions in modelled time", debug_text.events),
    "d": ("units", debug_text.units),
}
"""Letters that tell of a network, with a title."""


class DebugReport:
    """Prints to stdout what the flags of an object ask for after Compile, Init and Run."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._saturation: list[debug_text.SaturationCheck] | None = None

    def compiled(self, artifact: Artifact) -> None:
        """After a network has been compiled: layers and files."""
        facts, letters = self._facts, self._facts.flags.debug
        if not set(letters) - {"w"}:
            return
        network = Network(artifact)
        if "b" in letters:
            print(debug_text.layer_lines(network))
            print(f"compile: {facts.compile_seconds * 1e3:.1f} ms, measured on this host")
        for letter, (title, tell) in _TOLD.items():
            if letter in letters:
                print(f"{title}:\n{tell(network)}")
        if "i" in letters:
            programs = (each for cards in network.programs.values() for each in cards)
            for index, program in enumerate(programs):
                name = f"instr{facts.card}_{facts.flags.firstcluster}_{index}.txt"
                _write(facts, name, f"{program.disassemble()}\n".encode())
        if "J" in letters:
            # Where each layer runs and why; empty where all is in floating point.
            found = [asdict(op) for op in details_of(artifact).placement]
            _write(facts, "partition.json", f"{json.dumps(found, indent=2)}\n".encode())

    def initialised(self) -> None:
        """After networks have been loaded: times, addresses and the work of clusters."""
        facts, flags = self._facts, self._facts.flags
        self._saturation = None
        if "b" in flags.debug or flags.initmeasure:
            print(f"init: {facts.init_seconds * 1e3:.1f} ms, measured on this host")
        if "c" in flags.debug:
            print(f"addresses:\n{debug_text.addresses(facts.networks)}")
        if "C" in flags.debug:
            print(f"work of clusters:\n{debug_text.work_of_clusters(facts)}")
        if flags.breaklayer:
            for network in facts.networks:
                if network.on_device:
                    print(debug_text.efficiency(network).text(), end="")
                else:
                    print(debug_text.NOTHING)
                if flags.dumpdir:
                    _write_layers(facts, network)

    def before_run(self, images: Sequence[Sequence[Image]]) -> None:
        """Tell of the inputs of each network that do not fit its number format."""
        if "w" not in self._facts.flags.debug:
            return
        checks = self._saturation
        if checks is None:
            checks = self._saturation = [debug_text.SaturationCheck(each) for each in self._facts.networks]
        # Another thread may be loading other networks.
        for check, images_of_network in zip(checks, images, strict=False):
            for image in images_of_network:
                check.check(image)

    def ran(
        self, images: object, outputs: Sequence[TensorSpec], results: Results, compute: Callable[[str], Results]
    ) -> None:
        """After a run: times, comparison with other engines, files.
        ``images``: as the caller gave them.
        ``outputs``: of the networks that computed the results; another thread may have loaded others since.
        ``compute``: the results of another engine for the same images."""
        facts, flags = self._facts, self._facts.flags
        if "b" in flags.debug:
            print(debug_text.run_text(facts))
            for network in facts.networks:
                if network.on_device:
                    print(debug_text.efficiency(network).text(), end="")
        if flags.comparesw or flags.runsw == 2:
            software, floating = compute("software"), compute("float")
            print(debug_text.comparison(outputs, results if flags.comparesw else None, software, floating))
            for letter in "Rr":
                if letter in flags.debug and flags.comparesw:
                    text = debug_text.results_text(outputs, results, software, only_wrong=letter == "r")
                    print(text or "no result differs")
        if flags.temporary_save:
            _write_run(facts, "input", flattened(images))
            _write_run(facts, "output", [np.stack(each) for each in results])


def _write(facts: Facts, name: str, content: bytes) -> None:
    """Write a file into the folder that the flag ``dumpdir`` names; it is made if need be."""
    folder = Path(facts.flags.dumpdir or ".")
    make_folder(folder)
    write_file(folder / name, content)


def _write_layers(facts: Facts, network: Network) -> None:
    """Flag ``breaklayer``: ``layers.csv``, expected against modelled time of each layer on the device."""
    table, text = debug_text.efficiency(network), io.StringIO()
    writer = csv.DictWriter(text, [column.key for column in table.columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.records())
    _write(facts, "layers.csv", text.getvalue().encode())


def _write_run(facts: Facts, kind: str, arrays: Sequence[np.ndarray]) -> None:
    """Flag ``temporary_save``: ``input0.npy``, ``output0.npy`` and so on, of the latest run."""
    for index, array in enumerate(arrays):
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        _write(facts, f"{kind}{index}.npy", content.getvalue())
