"""What ``tilewright inspect`` shows of an artifact or a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tilewright.errors import ArtifactError

from ...ir.ops.call import Call
from ...runtime.artifact.artifact import ENGINES, Artifact
from ..frontend.onnx.reader import import_onnx
from ..table import Column, Table
from .fallbacks import fallback_table
from .memory import memory_map
from .placement import placement_of, placement_table
from .simulation import device_programs
from .summary import summarize
from .units import MACS, show_bytes, show_shape


def inspect_file(
    path: Path,
    input_shapes: Mapping[str, Sequence[int]],
    *,
    ir: bool,
    as_json: bool,
    engine: str | None = None,
    memory: bool = False,
) -> str:
    """The text to print.

    Args:
        engine: whose layers to show, the preferred one by default.
        memory: add where every intermediate result lies.

    Raises:
        ArtifactError, ModelError: the file is neither a sound artifact nor a sound model.
    """
    if path.suffix == ".onnx":
        return inspect_model(path, input_shapes, ir=ir, as_json=as_json)
    return inspect_artifact(Artifact.open(path), ir=ir, as_json=as_json, engine=engine, memory=memory)


def inspect_model(path: Path, input_shapes: Mapping[str, Sequence[int]], *, ir: bool, as_json: bool) -> str:
    """An ONNX model as imported, before any pass."""
    module = import_onnx(path, input_shapes)
    if ir:
        return str(module)
    table = Table([Column("name", "node"), Column("op", "operator"), Column("result", "result"), MACS])
    for op in module.main.ops:
        operands = [value.type if value is not None else None for value in op.operands]
        results = [value.type for value in op.results]
        shown = ", ".join(show_shape(t.dtype.value, t.shape) for t in results)
        table.add(name=op.node or "", op=op.name, result=shown, macs=op.operator.macs(operands, results))
    if as_json:
        return (
            json.dumps({"name": module.name, "metadata": module.metadata, "layers": table.records()}, indent=2) + "\n"
        )
    return table.text()


def inspect_artifact(
    artifact: Artifact, *, ir: bool, as_json: bool, engine: str | None = None, memory: bool = False
) -> str:
    """The engines of an artifact, layer by layer, and where its bytes go."""
    manifest = artifact.manifest
    if ir:
        names = [program.module for program in manifest.cpu_programs.values()]
        names += [f"module.{name}" for name in manifest.device_programs]
        return "".join(artifact.text(name) for name in names)
    layers = {name: _layers(artifact, name) for name in ENGINES if name in manifest.engines}
    if as_json:
        return json.dumps(_artifact_json(artifact, layers), indent=2) + "\n"
    summary = summarize(artifact)
    parts = [summary.to_text(artifact.origin), _interface(artifact)]
    shown = engine if engine is not None else next(iter(layers))
    if shown not in layers:
        raise ArtifactError(
            f"{artifact.origin} does not hold engine {shown!r}", stage="inspect", expected=" or ".join(layers)
        )
    records = placement_of(artifact)
    table = placement_table(records) if shown == "device" else layers[shown]
    parts.append(f"\nengine {shown}\n{table.text()}")
    if shown == "device" and any(record["on"] != "device" for record in records):
        parts.append(f"\non the CPU, by reason\n{fallback_table(records).text()}")
    if memory:
        parts.append(f"\nwork memory of engine {shown}\n{memory_map(artifact, shown).text()}")
    parts.append(f"\nsections\n{_sections(artifact).text()}")
    return "".join(parts)


def disassemble_file(path: Path) -> str:
    """The device programs of an artifact as text.

    Raises:
        ArtifactError: it holds none, or is damaged.
    """
    programs = device_programs(Artifact.open(path), "inspect")
    return "".join(f"; {name}\n{program.disassemble()}\n" for name, program in programs.items())


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
    lines = [f"  input  {t.name}: {show_shape(t.dtype, t.shape)}" for t in manifest.inputs]
    lines += [f"  output {t.name}: {show_shape(t.dtype, t.shape)}" for t in manifest.outputs]
    trust = "made here, native code is used" if artifact.trusted else "made elsewhere, kernels are generated again"
    lines.append(f"  compiler {manifest.compiler_version}; {trust}")
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
        "trusted": artifact.trusted,
        "inputs": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in manifest.inputs],
        "outputs": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in manifest.outputs],
        "machine": manifest.details.get("machine"),
        "engines": {name: {"layers": table.records()} for name, table in layers.items()},
        "placement": list(placement_of(artifact)),
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
