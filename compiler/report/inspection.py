"""What ``tilewright inspect`` shows of an artifact or a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tilewright.errors import ArtifactError, resources

from ...ir.ops.call import Call
from ...runtime.artifact.artifact import Artifact
from ...runtime.artifact.manifest import ENGINES, DeviceStage
from ..frontend.onnx.reader import InputShapes, import_onnx
from ..table import Column, Table, json_text
from .fallbacks import fallback_table
from .memory import memory_map
from .placement import placement_of, placement_table
from .simulation import device_programs
from .summary import summarize
from .units import MACS, show_bytes


@resources("inspect")
def inspect_model(path: Path, input_shapes: InputShapes, *, ir: bool, as_json: bool) -> str:
    """An ONNX model as imported, before any pass: its ops, or the module as text.

    Raises:
        ModelError: the model cannot be read or uses what is not supported.
    """
    module = import_onnx(path, input_shapes)
    if ir:
        return json_text({"name": module.name, "ir": str(module)}) if as_json else str(module)
    table = Table([Column("name", "node"), Column("op", "operator"), Column("result", "result"), MACS])
    for op in module.main.ops:
        shown = ", ".join(str(value.type.plain) for value in op.results)
        table.add(name=op.node or "", op=op.name, result=shown, macs=op.macs)
    if as_json:
        return json_text({"name": module.name, "metadata": module.metadata, "layers": table.records()})
    return table.text()


def inspect_artifact(artifact: Artifact, *, as_json: bool, engine: str | None = None, memory: bool = False) -> str:
    """The engines of an artifact, layer by layer, and where its bytes go.

    Args:
        engine: whose layers to show, the preferred one by default; JSON has those of all.
        memory: add where every intermediate result lies.

    Raises:
        ArtifactError: it does not hold the engine, or is damaged.
    """
    shown = chosen_engine(artifact, engine)
    layers = {name: _layers(artifact, name) for name in ENGINES if name in artifact.manifest.engines}
    if as_json:
        found = _artifact_json(artifact, layers)
        return json_text({**found, "memory": memory_map(artifact, shown).records()} if memory else found)
    parts = [summarize(artifact).to_text(artifact.origin), _interface(artifact)]
    records = placement_of(artifact)
    table = placement_table(records) if shown == "device" else layers[shown]
    parts.append(f"\nengine {shown}\n{table.text()}")
    if shown == "device" and any(record.on != "device" for record in records):
        parts.append(f"\non the CPU, by reason\n{fallback_table(records).text()}")
    if memory:
        parts.append(f"\nwork memory of engine {shown}\n{memory_map(artifact, shown).text()}")
    parts.append(f"\nsections\n{_sections(artifact).text()}")
    return "".join(parts)


def artifact_ir(artifact: Artifact, engine: str | None, *, as_json: bool) -> str:
    """The module that an engine was made from, as one text, with the functions that run on the device.

    Raises:
        ArtifactError: it does not hold the engine, or is damaged.
    """
    shown = chosen_engine(artifact, engine)
    stages, program = artifact.manifest.engines[shown].stages, artifact.manifest.engines[shown].cpu_program
    names = [artifact.manifest.cpu_programs[program].module] if program is not None else []
    names += [f"module.{name}" for name in sorted({each.program for each in stages if isinstance(each, DeviceStage)})]
    text = merged([artifact.text(name) for name in names])
    return json_text({"name": artifact.manifest.model.name, "engine": shown, "ir": text}) if as_json else text


def merged(texts: Sequence[str]) -> str:
    """Parts of one module as one text again: metadata and constants that several of them have stand there once."""
    first, *others = (text.splitlines() for text in texts)
    lines = first[:-1]
    for other in others:
        lines += [line for line in other[1:-1] if not (line.startswith(("  meta ", "  const ")) and line in first)]
    return "\n".join([*lines, "}", ""])


def chosen_engine(artifact: Artifact, engine: str | None) -> str:
    """The engine to show: the one that was asked for, or the preferred one.

    Raises:
        ArtifactError: the artifact does not hold it.
    """
    held = [name for name in ENGINES if name in artifact.manifest.engines]
    if engine is not None and engine not in held:
        raise ArtifactError(
            f"{artifact.origin} does not hold engine {engine!r}", stage="inspect", expected=" or ".join(held)
        )
    return engine or held[0]


def disassembly(artifact: Artifact, *, as_json: bool) -> str:
    """The device programs of an artifact as text.

    Raises:
        ArtifactError: it holds none, or is damaged.
    """
    texts = {name: program.disassemble() for name, program in device_programs(artifact, "inspect").items()}
    return json_text(texts) if as_json else "".join(f"; {name}\n{text}\n" for name, text in texts.items())


def _layers(artifact: Artifact, engine: str) -> Table:
    columns = [
        Column("name", "step"),
        Column("op", "operator"),
        Column("place", "runs on"),
        MACS,
        Column("bytes", "bytes moved", show=show_bytes, right=True),
        Column("nodes", "source nodes", show=", ".join),
    ]
    table = Table(columns)
    program = artifact.manifest.engines[engine].cpu_program
    for step in artifact.manifest.cpu_programs[program].steps if program is not None else ():
        if step.op == Call.name:
            place = "device"
        else:
            place = f"CPU kernel {step.kernel}" if step.kernel else "CPU, by the slow reference"
        table.add(name=step.name, op=step.op, place=place, macs=step.macs, bytes=step.bytes, nodes=list(step.loc))
    return table


def _interface(artifact: Artifact) -> str:
    manifest = artifact.manifest
    lines = [f"  input  {tensor}" for tensor in manifest.inputs]
    lines += [f"  output {tensor}" for tensor in manifest.outputs]
    verdict = artifact.judge()
    use = "its native code is used" if verdict.trusted else "its native code is not used"
    lines.append(f"  compiler {manifest.compiler_version}; {use}: {verdict.reason}")
    lines.append(f"  {artifact.digest}")
    return "\n".join(lines) + "\n"


def _sections(artifact: Artifact) -> Table:
    table = Table(
        [Column("name", "name"), Column("kind", "kind"), Column("bytes", "size", show=show_bytes, right=True)]
    )
    for name, entry in artifact.sections.items():
        table.add(name=name, kind=entry.kind.name.lower(), bytes=entry.length)
    return table


def _artifact_json(artifact: Artifact, layers: Mapping[str, Table]) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "model": {"name": manifest.model.name, "sha256": manifest.model.sha256},
        "precision": manifest.precision,
        "compiler_version": manifest.compiler_version,
        "digest": artifact.digest,
        "signer": artifact.signer,
        "trusted": artifact.trusted,
        "inputs": [asdict(tensor) for tensor in manifest.inputs],
        "outputs": [asdict(tensor) for tensor in manifest.outputs],
        "machine": manifest.details.get("machine"),
        "engines": {name: {"layers": table.records()} for name, table in layers.items()},
        "placement": [asdict(op) for op in placement_of(artifact)],
        "fallbacks": fallback_table(placement_of(artifact)).records(),
        "cpu_programs": {
            name: {
                "arena_bytes": program.arena_bytes,
                "target": {"triple": program.target.triple, "cpu": program.target.cpu},
            }
            for name, program in manifest.cpu_programs.items()
        },
        "sections": _sections(artifact).records(),
    }
