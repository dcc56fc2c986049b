"""What the letters of ``debug`` tell of layers and runs, as text; times of the device are modelled, none is measured.

Runs are told by counts, expected against modelled times, and how far integers are from floating point.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tilewright.errors import warn

from ...artifact.manifest import TensorSpec
from ...isa.encoding import Queue, Stream
from ...machines.machine import Machine
from ...report.details import EngineLayer, details_of
from ...report.table import Column, Table, on_one_line
from ..network import ranges_of_pictures
from .errors import SaturationWarning
from .facts import Facts, Network
from .networks.arrays import Results, elements

_SATURATED = 0.01
"""Share of an input beyond the number format from which a warning tells of it; calibration cuts off less on purpose."""

GIGABYTE = 2**30
"""Bytes of what the reports call GB, as the SDK's do."""


def gigabytes_per_second(count: int, seconds: float) -> float:
    """A bandwidth as the reports give it; 0 where no time passes."""
    return count / seconds / GIGABYTE if seconds else 0.0


def expected_seconds(operations: int, machine: Machine, clusters: int = 1) -> float:
    """What operations take at the full rate of so many clusters: operations / (2·MACs·clusters·clock)."""
    return operations / (2 * machine.cluster_macs_per_cycle * clusters * machine.clock_hertz)


def layers_of(network: Network) -> tuple[EngineLayer, ...]:
    """The shapes of the layers, as the artifact records them; none in artifacts of older compilers."""
    return details_of(network.artifact).layers


def layer_lines(network: Network) -> str:
    """Letter ``b``: a line for each layer with its type, name, number, shapes, window and buffers."""
    lines: list[str] = []
    # Of the layers so far: one that reorders a result has the name of what it reads.
    numbers: dict[str, int] = {}
    for index, layer in enumerate(layers_of(network)):
        lines.append(_line(index, layer, numbers))
        numbers[layer.name] = index
    return "\n".join(lines) or "the layers are not recorded"


def _line(index: int, layer: EngineLayer, numbers: dict[str, int]) -> str:
    window = [
        f"{name}={'x'.join(map(str, extents))}"
        for name, extents in (
            ("k", layer.kernel),
            ("stride", layer.strides),
            ("dilation", layer.dilations),
            ("pad", layer.pads),
            ("opad", layer.output_padding),
        )
        if extents
    ]
    producers = ",".join(str(numbers[name]) if name in numbers else "input" for name in layer.operands)
    inputs = " ".join(f"in={_map(shape)}" for shape in layer.inputs)
    parts = [layer.op, layer.name, f"id={index}", inputs, f"out={_map(layer.output)}", *window]
    return on_one_line(" ".join([part for part in parts if part] + [f"{producers}->{index}"]))


def _map(shape: Sequence[int]) -> str:
    """A shape as (Z,H,W,P): depth, rows, columns, planes; what is missing is 1."""
    planes, extents = (shape[1], shape[2:]) if len(shape) > 1 else ((*shape, 1)[0], ())
    return f"({','.join(map(str, (1, 1, 1, *extents)[-3:]))},{planes})"


def layer_list(network: Network) -> str:
    """Letter ``n``: number, name and type of each layer."""
    layers = layers_of(network)
    return "\n".join(on_one_line(f"{index} {each.name} {each.op}") for index, each in enumerate(layers))


def strategy(network: Network) -> str:
    """Letter ``s``: where each layer runs, why, and how it is cut into tiles there."""
    placed = {op.name: op for op in details_of(network.artifact).placement}
    table = Table([Column(key, key) for key in ("layer", "operator", "place", "tile", "keeps", "why")])
    for layer in layers_of(network):
        op = placed.get(layer.name)
        table.add(
            layer=layer.name,
            operator=layer.op,
            place=op.on if op is not None else "cpu",
            tile="x".join(map(str, layer.tile)),
            keeps=layer.stationary,
            why=op.why if op is not None else "floating point",
        )
    return table.text()


def formats(network: Network) -> str:
    """Letter ``Q``: what the integers of each layer's result stand for."""
    table = Table([Column(key, key) for key in ("layer", "format", "scale", "zero point", "smallest", "largest")])
    for layer in layers_of(network):
        row = {"layer": layer.name, "format": layer.dtype}
        if layer.scale is not None:
            row |= {"scale": f"{layer.scale:.6g}", "zero point": str(layer.zero_point)}
        if layer.range is not None:
            row |= {"smallest": f"{layer.range[0]:.6g}", "largest": f"{layer.range[1]:.6g}"}
        table.add(**row)
    return table.text()


def instruction_counts(network: Network) -> str:
    """Letter ``p``: how many instructions of each kind every layer takes."""
    lines: list[str] = []
    for name, timeline in network.timelines.items():
        counts: dict[str, Counter[str]] = {}
        for event in timeline.events:
            counts.setdefault(event.layer or "(other)", Counter())[event.mnemonic] += 1
        lines.append(f"{on_one_line(name)}: {len(timeline.events)} instructions")
        for layer, kinds in counts.items():
            lines.append(f"  {on_one_line(layer)}: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}")
    return "\n".join(lines or [NOTHING])


def transfers(network: Network) -> str:
    """Letter ``a``: the bytes that each layer loads and stores."""
    lines: list[str] = []
    for name, timeline in network.timelines.items():
        moved: dict[str, Counter[Queue]] = {}
        for event in timeline.events:
            if event.cost.dram_bytes:
                moved.setdefault(event.layer or "(other)", Counter())[event.stream.queue] += event.cost.dram_bytes
        lines.append(f"{on_one_line(name)}: bytes of whole bursts")
        for layer, queues in moved.items():
            lines.append(
                f"  {on_one_line(layer)}: {queues[Queue.LD] + queues[Queue.LW]} loaded, {queues[Queue.ST]} stored"
            )
    return "\n".join(lines or [NOTHING])


def events(network: Network) -> str:
    """Letter ``S``: every instruction with its modelled start and end, in cycles."""
    return "\n".join(
        on_one_line(
            f"{name} {each.stream.name} {each.index} {each.mnemonic} {each.start:.0f}-{each.end:.0f} {each.layer or ''}"
        )
        for name, timeline in network.timelines.items()
        for each in timeline.events
    ) or NOTHING  # fmt: skip


def units(network: Network) -> str:
    """Letter ``d``: how long each unit of the clusters is busy."""
    lines: list[str] = []
    for name, timeline in network.timelines.items():
        busy: Counter[Stream] = Counter()
        for event in timeline.events:
            busy[event.stream] += event.cost.unit
        cycles = ", ".join(f"{stream.name} {count}" for stream, count in sorted(busy.items()))
        lines.append(f"{on_one_line(name)}: busy cycles of {timeline.cycles:.0f}, modelled: {cycles}")
    return "\n".join(lines or [NOTHING])


def efficiency(network: Network) -> Table:
    """Expected against modelled time and bandwidth of each layer on the device, for one image on the clusters that work
    on it."""
    columns = [
        Column("layer", "layer"),
        Column("operator", "operator"),
        Column("operations", "ops", show=lambda count: f"{count:,}", right=True),
        Column("bytes", "bytes", show=lambda count: f"{count:,}", right=True),
        Column("expected_ms", "expected (ms)", show=lambda ms: f"{ms:.4f}", right=True),
        Column("modelled_ms", "modelled (ms)", show=lambda ms: f"{ms:.4f}", right=True),
        Column("expected_gbs", "expected (GB/s)", show=lambda rate: f"{rate:.3f}", right=True),
        Column("modelled_gbs", "modelled (GB/s)", show=lambda rate: f"{rate:.3f}", right=True),
        Column("efficiency", "efficiency", show=lambda share: f"{share:.3f}", right=True),
    ]
    table, machine, simulation = Table(columns), network.machine, network.simulation
    if machine is None or simulation is None:
        return table
    for layer in simulation.layers:
        operations, modelled = 2 * layer.macs, layer.cycles / machine.clock_hertz
        expected = expected_seconds(operations, machine, simulation.total.clusters)
        table.add(
            layer=layer.name,
            operator=layer.op,
            operations=operations,
            bytes=layer.dram_bytes,
            expected_ms=expected * 1e3,
            modelled_ms=modelled * 1e3,
            expected_gbs=gigabytes_per_second(layer.dram_bytes, expected) if operations else None,
            modelled_gbs=gigabytes_per_second(layer.dram_bytes, modelled),
            efficiency=expected / modelled if operations and modelled else None,
        )
    return table


REGION_ALIGNMENT = 4096
"""Bytes that the address of a region is a multiple of."""

NOTHING = "nothing of this network runs on the accelerator"
"""What is told of instructions where there are none."""


def addresses(networks: Sequence[Network]) -> str:
    """Letter ``c``: where the regions of each device program lie in the memory of a card, one after the other."""
    lines: list[str] = []
    address = 0
    for network in networks:
        for name, cards in network.programs.items():
            for region in cards[0].regions:
                what = f"{name} {region.name} ({region.kind.value}): {address:#x}, {region.size} bytes"
                lines.append(on_one_line(what))
                address += -(-region.size // REGION_ALIGNMENT) * REGION_ALIGNMENT
    return "\n".join(lines or [NOTHING])


def run_text(facts: Facts) -> str:
    """Letter ``b`` after a run: what went where, and expected against modelled time and bandwidth.

    All of the device is modelled for one image on the clusters that work on it together, or on one, times the images
    that are computed there one after the other; that clusters which work on images of their own share the memory of a
    card is not. The time of the host is measured."""
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
    images, first, together = facts.batch.images, facts.flags.firstcluster, facts.batch.together
    # Programs of other compilations may use fewer than there are now.
    used = max((each.clusters for each in found), default=1) if together else 1
    operations, moved = (
        total * images // used
        for total in (2 * sum(each.macs for each in found), sum(each.dram_bytes for each in found))
    )
    milliseconds = sum(each.seconds for each in found) * images * 1e3
    work = f"{images} images, {operations} ops, {moved} bytes, {milliseconds:.4f} ms modelled"
    modelled = "" if used == facts.batch.clusters else f", which is modelled on {'one' if used == 1 else used}"
    note = [f"all of them together work on one image{modelled}"] if together else []
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
    """Letter ``w``: tells once of each input whose numbers do not fit the number format of the network, and are not
    computed in floating point for that."""

    def __init__(self, network: Network) -> None:
        layers = details_of(network.artifact).layers
        names = {spec.name for spec in network.artifact.manifest.inputs} - {*ranges_of_pictures(network.artifact)}
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
