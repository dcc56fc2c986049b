"""What an object of the Accelerator API prints and writes as its flags ask: the one place that does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....artifact.artifact import Artifact
from ....artifact.manifest import TensorSpec
from ..facts import Facts, Network
from ..networks.arrays import Image, Results, flattened
from . import files, layers, runs

_TOLD = {
    "n": ("layers", layers.layer_list),
    "s": ("strategy", layers.strategy),
    "Q": ("number formats", layers.formats),
    "p": ("instructions", layers.instruction_counts),
    "a": ("memory traffic", layers.transfers),
    "S": ("instructions in modelled time", layers.events),
    "d": ("units", layers.units),
}
"""Letters that tell of a network, with a title."""


class DebugReport:
    """Prints to stdout what the flags of an object ask for after Compile, Init and Run."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._saturation: list[runs.SaturationCheck] | None = None

    def compiled(self, artifact: Artifact) -> None:
        """After a network has been compiled: layers and files.

        Raises:
            OutputError: a file cannot be written.
        """
        facts, letters = self._facts, self._facts.flags.debug
        if not set(letters) - {"w"}:
            return
        network = Network(artifact)
        if "b" in letters:
            print(layers.layer_lines(network))
            print(f"compile: {facts.compile_seconds * 1e3:.1f} ms, measured on this host")
        for letter, (title, tell) in _TOLD.items():
            if letter in letters:
                print(f"{title}:\n{tell(network)}")
        if "i" in letters:
            files.write_instructions(facts, network)
        if "J" in letters:
            files.write_partition(facts, network)

    def initialised(self) -> None:
        """After networks have been loaded: times, addresses and the work of clusters.

        Raises:
            OutputError: a file cannot be written.
        """
        facts, flags = self._facts, self._facts.flags
        self._saturation = None
        if "b" in flags.debug or flags.initmeasure:
            print(f"init: {facts.init_seconds * 1e3:.1f} ms, measured on this host")
        if "c" in flags.debug:
            print(f"addresses:\n{layers.addresses(facts.networks)}")
        if "C" in flags.debug:
            print(f"work of clusters:\n{runs.work_of_clusters(facts)}")
        if flags.breaklayer:
            for network in facts.networks:
                if network.on_device:
                    print(layers.efficiency(network).text(), end="")
                else:
                    print(layers.NOTHING)
                if flags.dumpdir:
                    files.write_layers(facts, network)

    def before_run(self, images: Sequence[Sequence[Image]]) -> None:
        """Tell of the inputs of each network that do not fit its number format."""
        if "w" not in self._facts.flags.debug:
            return
        checks = self._saturation
        if checks is None:
            checks = self._saturation = [runs.SaturationCheck(each) for each in self._facts.networks]
        # Another thread may be loading other networks.
        for check, images_of_network in zip(checks, images, strict=False):
            for image in images_of_network:
                check.check(image)

    def ran(
        self, images: object, outputs: Sequence[TensorSpec], results: Results, compute: Callable[[str], Results]
    ) -> None:
        """After a run: times, comparison with other engines, files.

        Args:
            images: as the caller gave them.
            outputs: of the networks that computed the results; another thread may have loaded others since.
            compute: the results of another engine for the same images.

        Raises:
            TilewrightError: another engine failed, or a file cannot be written.
        """
        facts, flags = self._facts, self._facts.flags
        if "b" in flags.debug:
            print(runs.run_text(facts))
            for network in facts.networks:
                if network.on_device:
                    print(layers.efficiency(network).text(), end="")
        if flags.comparesw or flags.runsw == 2:
            software, floating = compute("software"), compute("float")
            print(runs.comparison(outputs, results if flags.comparesw else None, software, floating))
            for letter in "Rr":
                if letter in flags.debug and flags.comparesw:
                    text = runs.results_text(outputs, results, software, only_wrong=letter == "r")
                    print(text or "no result differs")
        if flags.temporary_save:
            files.write_run(facts, [np.asarray(each) for each in flattened(images)], results)
