"""What the manifest records for reports alone. It may come from anyone, and nothing else has checked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from tilewright.errors import ArtifactError

from ..artifact.artifact import Artifact
from ..artifact.json_dataclasses import Source, read
from .layers import Layer
from .maps import PlacedMap
from .placement import PlacedOp
from .schedules import Schedule


@dataclass(frozen=True)
class Details:
    """What reports know of an artifact beside the manifest proper.

    Attributes:
        machine: what the device programs were made for; ``None`` without any.
        warnings: sentences of the compiler.
        placement: each op of engine ``device``, in order of execution.
        layers: the shapes of the ops of the preferred engine, in order of execution.
        maps: where the results of the device's ops lie.
        schedules: how the work of each device program was planned.
        preprocessing: the fields of `Preprocessing` with which images became calibration data; ``None`` without images.
    """

    machine: str | None = None
    warnings: tuple[str, ...] = ()
    placement: tuple[PlacedOp, ...] = ()
    layers: tuple[Layer, ...] = ()
    maps: tuple[PlacedMap, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    preprocessing: Mapping[str, object] | None = None


def details_of(artifact: Artifact) -> Details:
    """The details of an artifact; what is missing there is empty, and what else stands there is of no interest.

    Raises:
        ArtifactError: one of them is not what it should be.
    """
    found = artifact.manifest.details
    known = {each.name: found.get(each.name, each.default) for each in fields(Details)}
    return read(Details, known, Source(f"details of {artifact.origin}", ArtifactError))
