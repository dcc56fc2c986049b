"""What ``tilewright inspect`` shows of an artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from tilewright.errors import ArtifactError, first_of

from ..artifact.artifact import Artifact
from ..artifact.manifest import ENGINES, DeviceStage, ModelInfo, Processor, TensorSpec
from ..execution.cpu import fitting, reasons_against, unfit
from ..execution.shapes import shape_of
from .details import NAME, PlacedMap, PlacedOp, Schedule, details_of
from .placement import Fallback, beyond_chip, fallbacks, placement_table
from .simulation import device_programs
from .summary import summarize
from .table import (
    MACS,
    Column,
    Records,
    Table,
    on_lines,
    on_one_line,
    shortened,
    show_bytes,
    show_count,
    show_kernel,
    show_number,
)

_KERNEL = "CPU kernel "
"""What comes before the name of a kernel in JSON, where other places stand beside it."""


class ModuleText(TypedDict):
    """A module as text, before any pass of a model, after all of them of an engine."""

    name: str
    engine: str | None
    ir: str


class InspectedTensor(TypedDict):
    """An input or an output.
    ``at_most``: the dimensions of which the shape has the most there can be, where the data decide any."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    at_most: list[int]


class InspectedProgram(TypedDict):
    """The native code of a CPU program.

    Attributes:
        target: the processor that the code which fits here best is for.
        unfit: why it does not run here; nothing where it does.
        levels: one for each processor: ``cpu``, ``code_bytes``, ``constant_bytes``, ``ram_bytes``, ``use``.
    """

    arena_bytes: int
    target: Processor
    unfit: str | None
    levels: Records


class InspectedLayers(TypedDict):
    """The steps of an engine: ``name``, ``op``, ``place``, ``macs``, ``bytes``, ``nodes`` of each."""

    layers: Records


class InspectedArtifact(TypedDict):
    """All that an artifact says of itself.

    Attributes:
        signer: the key that it is signed by; nothing where it is not.
        trusted: whether its native code is.
        machine: what it was compiled for; nothing without engine ``device``.
        engines, cpu_programs: by name.
        shapes: by engine, where there are several: ``shape``, ``macs``, ``arena_bytes``, ``code_bytes`` of each.
        fallbacks: why ops of engine ``device`` run on the CPU.
        sections: ``name``, ``kind`` and ``bytes`` of each.
        memory: with --memory, where intermediate results lie.
    """

    model: ModelInfo
    precision: str
    compiler_version: str
    digest: str
    signer: str | None
    trusted: bool
    inputs: list[InspectedTensor]
    outputs: list[InspectedTensor]
    machine: str | None
    schedules: tuple[Schedule, ...]
    engines: dict[str, InspectedLayers]
    shapes: dict[str, Records]
    placement: tuple[PlacedOp, ...]
    maps: tuple[PlacedMap, ...]
    fallbacks: list[Fallback]
    cpu_programs: dict[str, InspectedProgram]
    sections: Records
    memory: Records | None


class ModelLayers(TypedDict):
    """A model as imported: of each op the ``name`` of its node, ``op``, ``result`` and ``macs``."""

    name: str
    metadata: dict[str, str]
    layers: Records


class OpenModel(TypedDict):
    """A model that leaves shapes open.

    Attributes:
        open_inputs: the shapes of these inputs, by name.
        unsupported: kinds of nodes that are not imported.
        nodes: ``name``, ``op`` and ``result`` of each, as they stand in the file.
    """

    name: str
    open_inputs: Mapping[str, str]
    unsupported: Sequence[str]
    nodes: Records


def inspect_artifact(artifact: Artifact, shown: str, memory: Table | None, *, as_json: bool) -> str | InspectedArtifact:
    """The engines of an artifact, layer by layer, and where its bytes go.
    ``shown``: the engine whose layers to show; JSON has those of all.
    ``memory``: where the intermediate results of that engine lie, to show that too."""
    layers = {name: _layers(artifact, name) for name in ENGINES if name in artifact.manifest.engines}
    if as_json:
        return _found(artifact, layers, memory)
    # Why ops run on the CPU stands below the table, all of it.
    parts = [replace(summarize(artifact), fallbacks=()).to_text(artifact.origin), _interface(artifact)]
    details = details_of(artifact)
    records = details.placement
    table = placement_table(records, details.maps) if shown == "device" else layers[shown]
    if artifact.manifest.shapes is not None:
        parts.append(f"\nshapes of engine {shown}; below, the first\n{_shapes(artifact, shown).text()}")
    parts.append(f"\nengine {shown}\n{table.text()}")
    if shown == "device":
        on_cpu, beyond = fallbacks(records), beyond_chip(details.maps)
        parts.append(_reasons("on the CPU", "op", on_cpu, 1))
        parts.append(_reasons("not on chip", "result", beyond, 1 + len(on_cpu)))
    if memory is not None:
        parts.append(f"\nwork memory of engine {shown}\n{memory.text()}")
    program = artifact.manifest.engines[shown].cpu_program
    if program is not None:
        parts.append(f"\nlevels of engine {shown}\n{_levels(artifact, program).text()}")
    parts.append(f"\nsections\n{_sections(artifact).text()}")
    return "".join(parts)


def _reasons(title: str, noun: str, reasons: Sequence[Fallback], first: int) -> str:
    lines = [
        on_lines(f"  ({number}) {each.why}: {show_number(each.count, noun)}, {first_of(each.ops)}", 6)
        for number, each in enumerate(reasons, first)
    ]
    return "".join([f"\n{title}, by reason\n", *lines]) if lines else ""


def artifact_ir(artifact: Artifact, shown: str, *, as_json: bool) -> str | ModuleText:
    """The module that an engine was made from, as one text, with the functions that run on the device."""
    stages, program = artifact.manifest.engines[shown].stages, artifact.manifest.engines[shown].cpu_program
    names = [artifact.manifest.cpu_programs[program].module] if program is not None else []
    names += [f"module.{name}" for name in sorted({each.program for each in stages if isinstance(each, DeviceStage)})]
    text = merged([artifact.text(name) for name in names])
    return {"name": artifact.manifest.model.name, "engine": shown, "ir": text} if as_json else text


def merged(texts: Sequence[str]) -> str:
    """Parts of one module as one text again: metadata and constants that several of them have stand there once."""
    first, *others = (text.removesuffix("\n").split("\n") for text in texts)
    if not others:
        return texts[0]
    lines, known = first[:-1], set(first)
    for other in others:
        lines += [line for line in other[1:-1] if not (line.startswith(("  meta ", "  const ")) and line in known)]
    return "\n".join([*lines, "}", ""])


def chosen_engine(artifact: Artifact, engine: str | None) -> str:
    """The engine to show: the one that was asked for, or the preferred one.
    Raises ArtifactError: the artifact does not hold it."""
    held = [name for name in ENGINES if name in artifact.manifest.engines]
    if engine is not None and engine not in held:
        raise ArtifactError(
            f"{artifact.origin} does not hold engine {engine!r}", stage="inspect", expected=" or ".join(held)
        )
    return engine or held[0]


def disassembly(artifact: Artifact, *, as_json: bool) -> str | dict[str, str]:
    """The device programs of an artifact as text, by name for JSON."""
    texts = {
        f"{name}, card {card}" if card else name: program.disassemble()
        for name, programs in device_programs(artifact, "inspect").items()
        for card, program in enumerate(programs)
    }
    return texts if as_json else "".join(f"; {on_one_line(name)}\n{text}\n" for name, text in texts.items())


def _layers(artifact: Artifact, engine: str) -> Table:
    columns = [
        Column("name", "step"),
        Column("op", "operator"),
        Column("place", "kernel", show=lambda place: show_kernel(place.removeprefix(_KERNEL))),
        MACS,
        Column("bytes", "bytes moved", show=show_bytes, right=True),
        Column("nodes", "source nodes", show=_nodes, spare=True),
    ]
    table = Table(columns)
    for step in artifact.manifest.steps_of(engine):
        if step.on_device:
            place = "device"
        else:
            place = f"{_KERNEL}{step.kernel}" if step.kernel else "CPU, by the slow reference"
        table.add(name=step.name, op=step.op, place=place, macs=step.macs, bytes=step.bytes, nodes=list(step.loc))
    return table


def _nodes(names: Sequence[str]) -> str:
    return first_of(names if len(names) == 1 else [shortened(name, NAME) for name in names])


def _shapes(artifact: Artifact, engine: str) -> Table:
    """What each shape of the network takes of its own; constants are shared."""
    columns = [
        Column("shape", "shape"),
        Column("macs", "MACs", show=show_count, right=True),
        Column("arena_bytes", "work memory", show=show_bytes, right=True),
        Column("code_bytes", "code", show=show_bytes, right=True),
    ]
    table = Table(columns)
    for each in artifact.in_shapes():
        own = summarize(each).engines[engine]
        table.add(shape=shape_of(each), macs=own.macs, arena_bytes=own.arena_bytes, code_bytes=own.code_bytes)
    return table


def _levels(artifact: Artifact, program: str) -> Table:
    """The processors that a program has native code for, what it takes there, and which of it this machine would run.

    RAM is what a run writes to and what it is given: work memory, inputs and outputs. Code and constants can stay in
    read-only memory."""
    columns = [
        Column("cpu", "level"),
        Column("code_bytes", "code", show=show_bytes, right=True),
        Column("constant_bytes", "constants", show=show_bytes, right=True),
        Column("ram_bytes", "RAM at most", show=show_bytes, right=True),
        Column("use", "here", spare=True),
    ]
    table = Table(columns)
    manifest = artifact.manifest
    found = manifest.cpu_programs[program]
    chosen, _ = fitting(found)
    constants = artifact.sections[found.constants].length
    tensors = sum(tensor.bytes for tensor in (*manifest.inputs, *manifest.outputs))
    for level in found.levels:
        use = unfit(level) or ("runs" if level == chosen else "could run")
        code, ram = artifact.sections[level.code].length, level.arena_bytes + tensors
        table.add(cpu=level.target.cpu, code_bytes=code, constant_bytes=constants, ram_bytes=ram, use=use)
    return table


def _interface(artifact: Artifact) -> str:
    manifest = artifact.manifest
    elements = details_of(artifact).elements or {}
    held = {name: f", the bits of {element}" for name, element in elements.items()}
    lines = [f"  input  {tensor}{held.get(tensor.name, '')}" for tensor in manifest.inputs]
    lines += [f"  output {tensor}{held.get(tensor.name, '')}" for tensor in manifest.outputs]
    verdict = artifact.judge()
    against = reasons_against(artifact) if verdict.trusted else [verdict.reason]
    use = f"is not used: {', '.join(against)}" if against else f"is used: {verdict.reason}"
    lines.append(f"  compiler {manifest.compiler_version}; its native code {use}")
    lines.append(f"  {artifact.digest}{f', signed by {artifact.signer}' if artifact.signer else ''}")
    return "".join(on_lines(line, 4) for line in lines)


def _sections(artifact: Artifact) -> Table:
    table = Table(
        [Column("name", "name"), Column("kind", "kind"), Column("bytes", "size", show=show_bytes, right=True)]
    )
    for name, entry in artifact.sections.items():
        table.add(name=name, kind=entry.kind.name.lower(), bytes=entry.length)
    return table


def _tensor(tensor: TensorSpec) -> InspectedTensor:
    at_most = [dimension for dimension, count in enumerate(tensor.counts) if count >= 0]
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape, "at_most": at_most}


def _found(artifact: Artifact, layers: Mapping[str, Table], memory: Table | None) -> InspectedArtifact:
    manifest, details = artifact.manifest, details_of(artifact)
    return {
        "model": manifest.model,
        "precision": manifest.precision,
        "compiler_version": manifest.compiler_version,
        "digest": artifact.digest,
        "signer": artifact.signer,
        "trusted": artifact.trusted,
        "inputs": [_tensor(tensor) for tensor in manifest.inputs],
        "outputs": [_tensor(tensor) for tensor in manifest.outputs],
        "machine": details.machine,
        "schedules": details.schedules,
        "engines": {name: {"layers": table.records()} for name, table in layers.items()},
        "shapes": {name: _shapes(artifact, name).records() for name in layers if manifest.shapes is not None},
        "placement": details.placement,
        "maps": details.maps,
        "fallbacks": fallbacks(details.placement),
        "cpu_programs": {
            name: {
                "arena_bytes": program.arena_bytes,
                "target": program.target,
                "unfit": fitting(program)[1],
                "levels": _levels(artifact, name).records(),
            }
            for name, program in manifest.cpu_programs.items()
        },
        "sections": _sections(artifact).records(),
        "memory": memory.records() if memory is not None else None,
    }
