"""Which values make steps of CPU programs refuse their work, as the details of an artifact tell it: for messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from tilewright.errors import ArtifactError
from tilewright.limits import ELEMENTS, RANK

from .artifact import Artifact
from .json_dataclasses import AtMost, Bounds, Source, read
from .manifest import BufferRef

_Limits = Annotated[tuple[Annotated[int, Bounds(-ELEMENTS, ELEMENTS)], ...], AtMost(RANK)]


@dataclass(frozen=True)
class Checked:
    """Integers that a step refuses outside ``least`` to ``most``, one of each or one for each in the last dimension."""

    step: Annotated[int, Bounds()]
    values: BufferRef
    least: _Limits
    most: _Limits


@dataclass(frozen=True)
class _Details:
    checked: Mapping[str, tuple[Checked, ...]]


def checked_values(artifact: Artifact, program: str) -> tuple[Checked, ...]:
    """What is known of a CPU program. Nobody has checked that its references lie in their memories.

    Raises:
        ArtifactError: it is not what it should be.
    """
    known = {"checked": artifact.manifest.details.get("checked", {})}
    return read(_Details, known, Source(f"details of {artifact.origin}", ArtifactError)).checked.get(program, ())
