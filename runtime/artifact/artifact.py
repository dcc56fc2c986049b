"""Artifacts: a container together with the manifest that explains it. Written by the compiler, read by the runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from tilewright.blocks import cached_property
from tilewright.errors import ArtifactError, ResourceError, UsageError, printable, resources
from tilewright.immutable import Immutable
from tilewright.limits import ELEMENTS, MANIFEST, RANK

from ..files.input_file import input_file
from ..trust import machine_key
from ..trust.verdict import Verdict, judge
from .container import HEAD, Container, Section, SectionKind, chunks, lay_out, packed, unpacked, unpacked_length
from .json_dataclasses import AtMost, Bounds, Source, read
from .manifest import BufferRef, Manifest
from .manifest_check import check_manifest
from .memory import Fill, already_filled, mapped, private_pages, reader

MANIFEST_SECTION = "manifest"


def _pieces(manifest: Manifest, sections: Sequence[Section]) -> Iterable[bytes | memoryview]:
    check_manifest(manifest, {part.name: (part.kind, memoryview(part.data).nbytes) for part in sections})
    text = manifest.to_json()
    _check_manifest_size(len(text))
    everything = [Section(MANIFEST_SECTION, SectionKind.MANIFEST, text), *sections]
    layout = lay_out(everything)
    return chunks(everything, layout, machine_key.tag(layout.digest))


def write_artifact(
    path: str | os.PathLike[str], manifest: Manifest, sections: Sequence[Section], *, is_packed: bool = False
) -> None:
    """Write a ``.twa`` file: complete, or not at all. Equal arguments give equal bytes for the same user and machine.
    ``is_packed``: deflated, which takes fewer bytes and cannot be mapped."""
    # Late: the runtime writes none.
    from ..files.output_file import output_file

    pieces = _pieces(manifest, sections)
    with output_file(path) as file:
        file.writelines(packed(pieces) if is_packed else pieces)


def write_with(path: str | os.PathLike[str], artifact: Artifact, name: str, detail: object) -> None:
    """Write an artifact that is open with a further detail."""
    entries = (entry for entry in artifact.sections.values() if entry.name != MANIFEST_SECTION)
    sections = [Section(entry.name, entry.kind, artifact.section(entry.name)) for entry in entries]
    details = {**artifact.manifest.details, name: detail}
    write_artifact(path, replace(artifact.manifest, details=details), sections)


def artifact_bytes(manifest: Manifest, sections: Sequence[Section]) -> bytes:
    """The content of the file that `write_artifact` would write."""
    return b"".join(_pieces(manifest, sections))


def _bytes(content: bytes | bytearray | memoryview) -> memoryview:
    try:
        return memoryview(content).cast("B")
    except TypeError:
        # Files in archives, as importlib.resources finds them, are paths that no system knows.
        reads = next((name for name in ("read_bytes", "read") if hasattr(content, name)), None)
        # Those of text refuse or garble what is none.
        opens = "Open it with mode 'rb'. " if hasattr(content, "encoding") else ""
        raise UsageError(
            "this cannot be an artifact",
            expected="a path, or bytes in one piece",
            found=type(content).__name__,
            hint=reads and f"{opens}Give what its {reads}() returns.",
        ) from None


def _check_size(size: int, origin: str, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ResourceError(
            f"{origin} does not fit the memory limit",
            stage="load artifact",
            expected=f"at most {limit} bytes",
            found=f"{size} bytes of artifact",
        )


def _check_manifest_size(size: int) -> None:
    """Parsed, it takes up to thirty times its size in memory."""
    if size > MANIFEST:
        raise ResourceError("the manifest is too large", stage="artifact", expected=f"at most {MANIFEST}", found=size)


class Artifact(Container):
    """A loaded artifact. Opening checks the structure and every checksum; sections are views of one block of memory.

    Attributes:
        origin: the path, or ``artifact in memory``.
        mapped: the memory is the file itself, mapped, not a copy of it.
        packed: the file holds it deflated.
        shape: of an artifact of several shapes, the one that this is a view of.
        extents: what the names of open extents stand for in that shape; empty where there is only one.
    """

    def __init__(
        self,
        buffer: memoryview,
        origin: str,
        fill: Fill = already_filled,
        *,
        mapped: bool = False,
        packed: bool = False,
    ) -> None:
        self.shape = 0
        self.extents: Mapping[str, int] = {}
        super().__init__(buffer, origin, fill)
        self.mapped, self.packed = mapped, packed
        check_manifest(self.manifest, {name: (entry.kind, entry.length) for name, entry in self.sections.items()})

    @cached_property
    def manifest(self) -> Manifest:
        """The checked manifest."""
        _check_manifest_size(len(self.section(MANIFEST_SECTION, SectionKind.MANIFEST)))
        return Manifest.from_json(self.copy(MANIFEST_SECTION))

    def in_shapes(self) -> tuple[Artifact, ...]:
        """An artifact for each shape of the network, the first one first; they are views of the same memory."""
        if self.manifest.shapes is None:
            return (self,)
        own, first, others = {name: name for name in self.sections}, self.manifest.shapes, self.manifest.shapes.others
        tables = (own, first.extents), *((other.sections, other.extents) for other in others)
        each = enumerate(zip(self.manifest.each_shape, tables, strict=True))
        return tuple(self._in_shape(number, manifest, *parts) for number, (manifest, parts) in each)

    def _in_shape(
        self, number: int, manifest: Manifest, table: Mapping[str, str], extents: Mapping[str, int]
    ) -> Artifact:
        found = Artifact.__new__(Artifact)
        vars(found).update(vars(self))
        found.shape, found.extents, found.manifest = number, extents, manifest
        found.sections = {name: self.sections[stored] for name, stored in table.items()}
        return found

    @staticmethod
    @resources("load artifact")
    def open(
        source: str | os.PathLike[str] | bytes | bytearray | memoryview,
        *,
        copy: bool = True,
        memory_limit: int | None = None,
        origin: str = "artifact in memory",
    ) -> Artifact:
        """Open a ``.twa`` file, or an artifact that is already in memory.

        Args:
            copy: read a file into memory of this process's own. Otherwise it is mapped, unless it is packed, and
                processes that map the same file share its memory; then it must not change while anything of it is in
                use: another process that overwrites it changes results, and one that truncates it ends this process
                with SIGBUS. (Replacing it with a new file of the same name, as `write_artifact` does, is no change.)
            memory_limit: bytes that the copy may have.
            origin: how messages call one in memory.

        Raises:
            ArtifactError: the file cannot be read, is no artifact, is of another version, damaged or inconsistent.
            ResourceError: it is larger than the limit or than the memory of this machine, or its manifest is too large.
            UsageError: the source is neither a path nor bytes in one piece.
        """
        if not isinstance(source, (str, os.PathLike)):
            content = _bytes(source)
            length = unpacked_length(content)
            _check_size(length or len(content), origin, memory_limit)
            if length is not None:
                return Artifact(unpacked(content, length, origin), origin, packed=True)
            # On pages of its own, because kernels read constants in place and rely on their alignment.
            pages = private_pages(len(content), "an artifact")
            pages[:] = content
            return Artifact(pages.toreadonly(), origin)
        path = origin = os.fsdecode(source)
        with input_file(path, ArtifactError, "load artifact") as file:
            size = file.length
            length = unpacked_length(file.read(HEAD.size))
            if length is not None:
                _check_size(max(length, size), origin, memory_limit)
                file.seek(0)
                return Artifact(unpacked(memoryview(file.read()), length, origin), origin, packed=True)
            if not copy and size:
                return Artifact(mapped(file), origin, mapped=True)
            _check_size(size, origin, memory_limit)
            memory = private_pages(size, "an artifact")
            return Artifact(memory.toreadonly(), origin, reader(file, memory))

    def __reduce__(self) -> tuple[Callable[[bytes, int | None], Artifact], tuple[bytes, int | None]]:
        """Pickled and copied by its content, which is checked again where it arrives, an artifact in memory."""
        is_whole = self.manifest.shapes is not None
        return _opened_again, (bytes(self._buffer), None if is_whole else self.shape)

    def __repr__(self) -> str:
        model, engines = self.manifest.model.name, ", ".join(self.manifest.engines)
        return f"<Artifact {self.origin!r}: model {model!r}, precision {self.manifest.precision}, engines {engines}>"

    def html(self, heading: str) -> str:
        """A table of the inputs and outputs, under a heading in plain text."""
        # Not above: programs that show none would wait two milliseconds for its table of entities.
        from html import escape

        rows = [("input", each) for each in self.manifest.inputs] + [("output", each) for each in self.manifest.outputs]
        body = "".join(f"<tr><td>{kind}</td><td>{escape(printable(str(each)))}</td></tr>" for kind, each in rows)
        return f"<table><caption>{escape(printable(heading))}</caption>{body}</table>"

    def _repr_html_(self) -> str:
        return self.html(repr(self)[1:-1])

    @property
    def trusted(self) -> bool:
        """Whether its native code may run here; raises as :meth:`judge`."""
        return self.judge().trusted

    @property
    def signer(self) -> str | None:
        """``ed25519:`` and the public key of who signed it; None without a signature that fits."""
        return self.credentials.signer

    def judge(self, trust: str | None = None) -> Verdict:
        """Whether its native code may run here, and why (not).
        ``trust``: what the caller requires: ``sha256:…``, its digest, or ``ed25519:…``, the key that it is signed by.
        Raises TrustError: it is not what the caller requires; ArtifactError: someone vouches for it, and its content is
        not what was vouched for; UsageError: the requirement is of no known form."""
        verdict = judge(self.credentials, trust, self.origin)
        # Its CRC-32 tells accidents; between a stranger's machine and this one, someone may have made others fit it.
        if verdict.trusted and not verdict.local:
            self.check_sha256()
        return verdict

    def text(self, name: str) -> str:
        """The content of a text section.
        Raises ArtifactError: there is no such section, or it is not UTF-8."""
        try:
            return str(self.copy(name), "utf-8")
        except UnicodeDecodeError:
            raise ArtifactError(f"section {name!r} of {self.origin} is not text", stage="load artifact") from None


def _opened_again(content: bytes, shape: int | None) -> Artifact:
    artifact = Artifact.open(content)
    if shape is None:
        return artifact
    shapes = artifact.in_shapes()
    if not isinstance(shape, int) or not 0 <= shape < len(shapes):
        message, expected = "a pickled artifact does not hold its shape", f"0 to {len(shapes) - 1}"
        raise ArtifactError(message, stage="load artifact", expected=expected, found=f"{shape!r:.60}")
    return shapes[shape]


_Limits = Annotated[tuple[Annotated[int, Bounds(-ELEMENTS, ELEMENTS)], ...], AtMost(RANK)]


class Checked(Immutable):
    """Integers that a step refuses outside ``least`` to ``most``, one of each or one for each in the last dimension."""

    step: Annotated[int, Bounds()]
    values: BufferRef
    least: _Limits
    most: _Limits


class _Details(Immutable):
    """Of a manifest, what `checked_values` reads."""

    checked: Mapping[str, tuple[Checked, ...]]


def checked_values(artifact: Artifact, program: str) -> tuple[Checked, ...]:
    """What is known of a CPU program. Nobody has checked that its references lie in their memories."""
    known = {"checked": artifact.manifest.details.get("checked", {})}
    return read(_Details, known, Source(f"details of {artifact.origin}", ArtifactError)).checked.get(program, ())
