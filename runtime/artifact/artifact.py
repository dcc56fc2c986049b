"""Artifacts: a container together with the manifest that explains it. Written by the compiler, read by the runtime."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from tilewright.errors import ArtifactError

from ..files.output_file import output_file
from . import trust
from .container import NO_TAG, Container, Layout, Section, SectionKind, chunks, lay_out
from .manifest import Manifest
from .manifest_check import check_manifest

MANIFEST_SECTION = "manifest"


def _prepare(manifest: Manifest, sections: Sequence[Section]) -> tuple[list[Section], Layout, bytes]:
    check_manifest(manifest, {part.name: (part.kind, memoryview(part.data).nbytes) for part in sections})
    everything = [Section(MANIFEST_SECTION, SectionKind.MANIFEST, manifest.to_json()), *sections]
    layout = lay_out(everything)
    return everything, layout, trust.sign(layout.digest) or NO_TAG


def write_artifact(path: str | os.PathLike[str], manifest: Manifest, sections: Sequence[Section]) -> None:
    """Write a ``.twa`` file: complete, or not at all. Equal arguments give equal bytes for the same user and machine.

    Raises:
        ArtifactError: the manifest contradicts itself or the sections.
        OutputError: the file cannot be written.
    """
    everything, layout, tag = _prepare(manifest, sections)
    with output_file(path) as file:
        file.writelines(chunks(everything, layout, tag))


def artifact_bytes(manifest: Manifest, sections: Sequence[Section]) -> bytes:
    """The content of the file that `write_artifact` would write.

    Raises:
        ArtifactError: the manifest contradicts itself or the sections.
    """
    everything, layout, tag = _prepare(manifest, sections)
    return b"".join(chunks(everything, layout, tag))


def _map_file(path: str | os.PathLike[str]) -> memoryview:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ArtifactError(f"cannot read {str(path)!r}: {reason}", stage="load artifact") from error


def _map_bytes(content: bytes | bytearray | memoryview) -> memoryview:
    """A copy on pages of its own, because kernels read constants in place and rely on their alignment."""
    view = memoryview(content).cast("B")
    if not len(view):
        return view
    pages = mmap.mmap(-1, len(view))
    pages[:] = view
    return memoryview(pages).toreadonly()


class Artifact(Container):
    """A loaded artifact. Opening checks the structure and every checksum; sections are views of the mapped file.

    Attributes:
        origin: the path, or ``artifact in memory``.
        manifest: the checked manifest.
    """

    def __init__(self, buffer: memoryview, origin: str) -> None:
        super().__init__(buffer, origin)
        self.section(MANIFEST_SECTION, SectionKind.MANIFEST)
        self.manifest = Manifest.from_json(self.copy(MANIFEST_SECTION))
        check_manifest(self.manifest, {name: (entry.kind, entry.length) for name, entry in self.sections.items()})

    @staticmethod
    def open(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> Artifact:
        """Open a ``.twa`` file, or an artifact that is already in memory.

        Raises:
            ArtifactError: the file cannot be read, is no artifact, is of another version, damaged or inconsistent.
        """
        if isinstance(source, (bytes, bytearray, memoryview)):
            return Artifact(_map_bytes(source), "artifact in memory")
        return Artifact(_map_file(source), str(Path(source)))

    def __repr__(self) -> str:
        model, engines = self.manifest.model.name, ", ".join(self.manifest.engines)
        return f"<Artifact {self.origin!r}: model {model!r}, precision {self.manifest.precision}, engines {engines}>"

    @property
    def trusted(self) -> bool:
        """Whether this user wrote the artifact on this machine, so that its native code may run."""
        return self.trust_objection is None

    @property
    def trust_objection(self) -> str | None:
        """Why its native code may not run here; None when this user wrote the artifact on this machine."""
        return trust.objection(self._digest, self._tag)

    def text(self, name: str) -> str:
        """The content of a text section.

        Raises:
            ArtifactError: there is no such section, or it is not UTF-8.
        """
        try:
            return str(self.section(name), "utf-8")
        except UnicodeDecodeError:
            raise ArtifactError(f"section {name!r} of {self.origin} is not text", stage="load artifact") from None
