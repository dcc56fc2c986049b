"""Files of exported networks: artifacts that also say what the network was."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from tilewright.errors import ArtifactError, resources
from tilewright.limits import ELEMENTS

from ....artifact.artifact import MANIFEST_SECTION, Artifact, write_artifact
from ....artifact.container import Section
from ....artifact.json_dataclasses import Source, read
from ....artifact.manifest import TensorSpec
from ..devices.configuration import Configuration
from .facts import BlobFacts, NetworkFacts, in_layout
from .loaded import LoadedNetwork

_DETAIL = "inference_engine"
_SOURCE = Source("what the file says of its network", ArtifactError, "import_network")


@dataclass(frozen=True)
class _Exported:
    """What the file holds besides the artifact.

    Attributes:
        engine: what computes it.
    """

    network: NetworkFacts
    engine: str


def export_network(network: LoadedNetwork, path: str | os.PathLike[str]) -> None:
    """Write a loaded network into a file, which ``tilewright.load`` takes as well.

    Raises:
        OutputError: the file cannot be written.
    """
    artifact = network.artifact
    detail = asdict(_Exported(network.facts, network.session.engine))
    sections = [
        Section(entry.name, entry.kind, artifact.section(entry.name))
        for entry in artifact.sections.values()
        if entry.name != MANIFEST_SECTION
    ]
    details = {**artifact.manifest.details, _DETAIL: detail}
    write_artifact(path, replace(artifact.manifest, details=details), sections)


@resources("import_network")
def import_network(path: str | os.PathLike[str], configuration: Configuration, requests: int) -> LoadedNetwork:
    """A network from a file that `export_network` wrote.

    Raises:
        ArtifactError: the file cannot be read, is damaged, or is none of an exported network.
        TilewrightError: as `tilewright.load`.
    """
    artifact = Artifact.open(path)
    detail = artifact.manifest.details.get(_DETAIL)
    if not isinstance(detail, Mapping):
        raise ArtifactError(
            f"{artifact.origin} is none of an exported network",
            stage="import_network",
            hint="ExecutableNetwork.export writes such files.",
        )
    found = read(_Exported, detail, _SOURCE)
    _check(found, artifact)
    return LoadedNetwork(found.network, artifact, found.engine, configuration, requests)


def _check(exported: _Exported, artifact: Artifact) -> None:
    """Refuse what does not go with the artifact itself."""
    facts, manifest = exported.network, artifact.manifest
    if exported.engine not in manifest.engines:
        _SOURCE.refuse("engine", "names none of the artifact's", list(manifest.engines), exported.engine)
    items = facts.batch if facts.is_dynamic else 1
    for what, blobs, specs in (("inputs", facts.inputs, manifest.inputs), ("outputs", facts.outputs, manifest.outputs)):
        tensors = {spec.name: spec for spec in specs}
        for index, blob in enumerate(blobs):
            spec = tensors.get(blob.tensor)
            if spec is None or not _fits(blob, spec, items):
                _SOURCE.refuse(f"network.{what}.{index}", "does not fit the artifact", spec, str(blob.shape))
        missing = tensors.keys() - {blob.tensor for blob in blobs}
        if what == "inputs" and missing:
            _SOURCE.refuse("network.inputs", "lacks some of the artifact's", found=sorted(missing))


def _fits(blob: BlobFacts, spec: TensorSpec, items: int) -> bool:
    """Whether an array of the blob's shape is what the artifact takes or gives, or so many items of it."""
    if blob.shape == in_layout(spec.shape, blob.layout):
        return True
    many = (items * spec.shape[0], *spec.shape[1:]) if spec.shape else ()
    return items > 1 and blob.shape == in_layout(many, blob.layout) and math.prod(many) <= ELEMENTS
