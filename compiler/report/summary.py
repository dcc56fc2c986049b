"""What ``tilewright compile`` says about the artifact that it has written."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

from ...runtime.artifact import Artifact
from .units import show_bytes, show_count


@dataclass(frozen=True)
class EngineSummary:
    """One engine of an artifact.

    Attributes:
        operators: how many ops it executes.
        reference: of these, how many have no kernel and run by the slow reference, by operator name.
        macs: multiply-accumulates of one run.
        arena_bytes, constant_bytes, code_bytes: work memory, weights and tables, machine code.
    """

    operators: int
    reference: dict[str, int]
    macs: int
    arena_bytes: int
    constant_bytes: int
    code_bytes: int


@dataclass(frozen=True)
class Summary:
    """An artifact at a glance; ``warnings`` are sentences for stderr."""

    model: str
    precision: str
    file_bytes: int
    engines: dict[str, EngineSummary]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def to_text(self, path: str) -> str:
        lines = [f"{self.model}: compiled to {path} ({self.precision}, {show_bytes(self.file_bytes)})"]
        for name, engine in self.engines.items():
            slow = sum(engine.reference.values())
            kernels = f"{engine.operators - slow} on CPU kernels" + (f", {slow} by reference" if slow else "")
            lines.append(
                f"  engine {name:<9} {engine.operators} ops ({kernels}), {show_count(engine.macs)} MACs; "
                f"weights {show_bytes(engine.constant_bytes)}, work memory {show_bytes(engine.arena_bytes)}, "
                f"code {show_bytes(engine.code_bytes)}"
            )
        return "\n".join(lines) + "\n"


def summarize(artifact: Artifact) -> Summary:
    """Count what the manifest of ``artifact`` lists."""
    manifest = artifact.manifest
    engines: dict[str, EngineSummary] = {}
    for name, engine in manifest.engines.items():
        if engine.cpu_program is None:
            continue
        program = manifest.cpu_programs[engine.cpu_program]
        engines[name] = EngineSummary(
            operators=len(program.steps),
            reference=dict(Counter(step.op for step in program.steps if step.reference)),
            macs=sum(step.macs for step in program.steps),
            arena_bytes=program.arena_bytes,
            constant_bytes=artifact.sections[program.constants].length,
            code_bytes=artifact.sections[program.code].length,
        )
    slow = Counter[str]()
    for summary in engines.values():
        slow.update(summary.reference)
    warnings = [
        f"{count} x {op} has no CPU kernel and runs by the slow reference interpreter" for op, count in slow.items()
    ]
    return Summary(
        model=manifest.model.name,
        precision=manifest.precision,
        file_bytes=sum(entry.length for entry in artifact.sections.values()),
        engines=engines,
        warnings=tuple(warnings),
    )
