"""What ``debug`` tells of a run: counts, expected against modelled times, and how far integers are from floats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.errors import warn

from ....artifact.manifest import TensorSpec
from ....report.details import details_of
from ....report.table import on_one_line
from ..errors import SaturationWarning
from ..facts import Facts, Network
from ..networks.arrays import Results, elements
from .layers import NOTHING, expected_seconds, gigabytes_per_second

_SATURATED = 0.01
"""Share of an input beyond the number format from which a warning tells of it; calibration cuts off less on purpose."""


def run_text(facts: Facts) -> str:
    """Letter ``b`` after a run: what went where, and expected against modelled time and bandwidth.

    All of the device is modelled for one image on the clusters that work on it together, or on one, times the images
    that are computed there one after the other; that clusters which work on images of their own share the memory of a
    card is not. The time of the host is measured.
    """
    batch = facts.batch
    lines = [
        f"inputs: {sum(map(elements, facts.inputs))} elements an image, batch {batch.size}",
        f"cards: {batch.cards} of {facts.most_cards}, clusters of each: {batch.clusters} of {facts.machine.clusters}",
        f"host: {facts.run_seconds * 1e3:.3f} ms for the call, measured on this host, which stands in for the card",
    ]
    for network in facts.networks:
        lines += _network_lines(network, batch.images, batch.size)
    return "\n".join(lines)


def _network_lines(network: Network, images: int, size: int) -> list[str]:
    simulation, machine = network.simulation, network.machine
    if simulation is None or machine is None:
        return [NOTHING]
    programs = network.artifact.manifest.device_programs.values()
    sent, received = (
        sum(elements(ref) for program in programs for ref in refs(program)) * size
        for refs in (lambda program: program.inputs, lambda program: program.outputs)
    )
    total = simulation.total
    operations, modelled, moved = 2 * total.macs * images, total.seconds * images, total.dram_bytes * images
    expected = expected_seconds(operations, machine, total.clusters)
    rate = 2 * machine.cluster_macs_per_cycle * total.clusters * machine.clock_hertz / 1e9
    return [
        f"main memory to device: {sent} bytes, back: {received} bytes",
        f"device: {operations} ops, {moved} bytes of its memory on each cluster"
        if total.clusters == 1
        else f"device: {operations} ops, {moved} bytes of its memory on {total.clusters} clusters together",
        f"time: expected {expected * 1e3:.4f} ms at {rate:.1f} Gop/s, modelled {modelled * 1e3:.4f} ms",
        f"bandwidth: expected {gigabytes_per_second(moved, expected):.3f} GB/s, "
        f"modelled {gigabytes_per_second(moved, modelled):.3f} GB/s",
        f"efficiency: {expected / modelled if modelled else 0:.3f}, expected / modelled",
    ]


def work_of_clusters(facts: Facts) -> str:
    """Letter ``C``: the modelled work of each cluster of a card; all have the same, or an equal part of an image."""
    simulations = [network.simulation for network in facts.networks]
    found = [simulation.total for simulation in simulations if simulation is not None]
    images = facts.batch.images
    operations, moved = 2 * sum(each.macs for each in found) * images, sum(each.dram_bytes for each in found) * images
    milliseconds = sum(each.seconds for each in found) * images * 1e3
    work = f"{images} images, {operations} ops, {moved} bytes, {milliseconds:.4f} ms modelled"
    first = facts.flags.firstcluster
    note: list[str] = []
    if facts.batch.together:
        # Programs of other compilations may use fewer than there are now.
        used = max((each.clusters for each in found), default=1)
        operations, moved = operations // used, moved // used
        work = f"{images} images, {operations} ops, {moved} bytes, {milliseconds:.4f} ms modelled"
        modelled = "" if used == facts.batch.clusters else f", which is modelled on {'one' if used == 1 else used}"
        note = [f"all of them together work on one image{modelled}"]
    clusters = [f"cluster {first + index}: {work}" for index in range(facts.batch.clusters)]
    return "\n".join([*clusters, *note] if found else [NOTHING])


def comparison(outputs: Sequence[TensorSpec], run: Results | None, software: Results, floating: Results) -> str:
    """How ``Run``, if given, differs from ``Run_sw``, and that from ``Run_th`` in percent of the largest |Run_th|."""
    lines: list[str] = []
    for index, spec in enumerate(outputs):
        model, reference = (np.stack(each[index]).astype(np.float64) for each in (software, floating))
        name = on_one_line(spec.name)
        if run is not None:
            different = int(np.count_nonzero(np.stack(run[index]) != model))
            found = f"differ in {different} of {model.size}" if different else f"are equal in all {model.size}"
            lines.append(f"{name}: Run and Run_sw {found} elements")
        lines.append(f"{name}: Run_sw against Run_th: {error_text(model, reference)}")
    return "\n".join(lines)


def error_text(found: np.ndarray, reference: np.ndarray) -> str:
    """Mean and largest difference, in percent of the largest number of the reference."""
    largest = float(np.abs(reference).max(initial=0))
    difference = np.abs(found - reference)
    mean, most = (float(each) / (largest or 1) * 100 for each in (difference.mean(), difference.max(initial=0)))
    return f"mean error {mean:.3f} %, largest {most:.3f} % of max|ref| = {largest:.6g}"


def results_text(outputs: Sequence[TensorSpec], run: Results, software: Results, *, only_wrong: bool) -> str:
    """Letters ``R`` and ``r``: each result of both, or those that differ."""
    lines: list[str] = []
    for index, spec in enumerate(outputs):
        for image, (device, model) in enumerate(zip(run[index], software[index], strict=True)):
            for at in np.flatnonzero(device != model) if only_wrong else range(device.size):
                values = f"{device.flat[at]:.6g} {model.flat[at]:.6g}"
                lines.append(f"{on_one_line(spec.name)} image {image} [{at}]: {values}")
    return "\n".join(lines)


class SaturationCheck:
    """Letter ``w``: tells once of each input whose numbers do not fit the number format of the network."""

    def __init__(self, network: Network) -> None:
        layers = details_of(network.artifact).layers
        names = {spec.name for spec in network.artifact.manifest.inputs}
        self._ranges = {
            operand: layer.range
            for layer in layers
            if layer.op == "quantize" and layer.range is not None
            for operand in layer.operands
            if operand in names
        }

    def check(self, image: dict[str, np.ndarray]) -> None:
        """Warn of the inputs of a run."""
        for name, (low, high) in list(self._ranges.items()):
            array = image.get(name)
            if array is None or not array.size or (low <= array.min() and array.max() <= high):
                continue
            beyond = int(np.count_nonzero(array < low) + np.count_nonzero(array > high))
            if beyond > _SATURATED * array.size:
                self._ranges.pop(name, None)
                warn(
                    f"{beyond} of {array.size} numbers of input {name!r} are outside the range of its number format, "
                    f"{low:.4g} to {high:.4g}, and are cut off",
                    SaturationWarning,
                )
