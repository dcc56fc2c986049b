"""The memory map of an engine: which intermediate result lies where, and for how long."""

from __future__ import annotations

from ...codegen.stored_module import load_module
from ...ir.annotations import ALIAS, AT
from ...ir.layout import bytes_of
from ...runtime.artifact.artifact import Artifact
from ...runtime.report.table import Column, Table, show_bytes


def memory_map(artifact: Artifact, engine: str) -> Table:
    """One row for each op result in the work memory of an engine, in order of execution: where it lies, and by which
    steps it is written and last read.

    Raises:
        ArtifactError, IRError: the module text in the artifact is damaged.
    """
    columns = [
        Column("name", "result"),
        Column("offset", "offset", right=True),
        Column("bytes", "size", show=show_bytes, right=True),
        Column("first", "written", right=True),
        Column("last", "last read", right=True),
        Column("shared", "memory"),
    ]
    table = Table(columns)
    program = artifact.manifest.engines[engine].cpu_program
    if program is None:
        return table
    function = load_module(artifact, program).main
    order = {op: index for index, op in enumerate(function.ops)}
    for op in function.ops:
        alias = ALIAS.get(op)
        for value, offset in zip(op.results, AT.get(op) or (), strict=False):
            own = "work memory" if offset is not None else "the caller's output buffer"
            table.add(
                name=value.name,
                offset=offset,
                bytes=bytes_of(value.type),
                first=order[op],
                last=max((order[user] for user in value.users), default=order[op]),
                shared=own if alias is None else f"that of operand {alias}",
            )
    return table
