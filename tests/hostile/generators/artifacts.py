"""Artifacts that nobody signed, damaged where checksums and digests do not see it: whoever damages makes them anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np

from tilewright.codegen.package import Package
from tilewright.compiler.network_page.occupancy import memory_map
from tilewright.errors import TilewrightError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.container import Section, SectionKind, chunks, lay_out
from tilewright.runtime.commands.console import enveloped
from tilewright.runtime.report.inspection import artifact_ir, chosen_engine, disassembly, inspect_artifact
from tilewright.runtime.report.simulation import simulate_artifact

from .. import corpus
from ..forgery import header_or_entry, with_number
from ..generator import Case, generator
from ..guarded_session import become_a_stranger, load_and_run
from ..mutation import damage_bytes, damage_json, damage_text, part_at, paths, pick, pick_integer
from .ir_text import change_tokens

ENGINES = (None, "device", "software", "float")


def pack(manifest: bytes, sections: list[Section]) -> bytes:
    """An artifact without signature, with any manifest."""
    everything = [Section("manifest", SectionKind.MANIFEST, manifest), *sections]
    return b"".join(chunks(everything, lay_out(everything)))


def to_json(tree: object) -> bytes:
    """Text that a reader of JSON may take; infinities and halves of surrogate pairs go in as they are."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


def prepare() -> None:
    become_a_stranger()
    corpus.packages()
    corpus.shapes_package()
    corpus.selecting_package()


def _manifest(rng: np.random.Generator, package: Package) -> tuple[str, bytes]:
    """Any part of the manifest."""
    tree = damage_json(rng, json.loads(package.manifest().to_json()), int(rng.integers(1, 3)))
    text = to_json(tree)
    return text.decode(errors="replace"), pack(text, package.sections)


def _related(rng: np.random.Generator, package: Package) -> tuple[str, bytes]:
    """Numbers and names of stages, programs, tensors and ports, which are related to each other."""
    tree = json.loads(package.manifest().to_json())
    for _ in range(int(rng.integers(1, 4))):
        parts = ("engines", "cpu_programs", "device_programs", "inputs", "outputs", "counts", "shapes")
        part = pick(rng, [part for part in parts if part in tree])
        inside = [at for at in paths(tree[part], (part,)) if isinstance(part_at(tree, at), (int, str, list))]
        if not inside:
            continue
        at = pick(rng, inside)
        home, value = part_at(tree, at[:-1]), part_at(tree, at)
        if isinstance(value, int):
            home[at[-1]] = value + pick(rng, (-1, 1, -64, 64)) if rng.integers(2) else pick_integer(rng, value)
        elif isinstance(value, str):
            strings = [v for p in paths(tree) if isinstance(v := part_at(tree, p), str)]
            home[at[-1]] = pick(rng, strings)
        elif value:
            value.append(pick(rng, value)) if rng.integers(2) else value.pop(int(rng.integers(len(value))))
    text = to_json(tree)
    return text.decode(errors="replace"), pack(text, package.sections)


def _details(rng: np.random.Generator, package: Package) -> tuple[str, bytes]:
    """What reports read and nothing else checks."""
    tree = json.loads(package.manifest().to_json())
    tree["details"] = damage_json(rng, tree["details"], 3)
    text = to_json(tree)
    return to_json(tree["details"]).decode(errors="replace"), pack(text, package.sections)


def _section(rng: np.random.Generator, package: Package) -> tuple[str, bytes]:
    """One section: indices and descriptions as JSON, modules as text, the rest as bytes."""
    part = pick(rng, [part for part in package.sections if part.kind is not SectionKind.CODE])
    name, content = part.name, bytes(part.data)
    if name.endswith(".blobs"):
        changed = to_json(damage_json(rng, json.loads(content), 2))
    elif part.kind is SectionKind.MODULE:
        text = content.decode()
        changed = (change_tokens(rng, text) if rng.integers(2) else damage_text(rng, text)).encode("utf-8", "replace")
    else:
        changed = damage_bytes(rng, content)
    sections = corpus.sections(package, {name: changed})
    return f"{name}:\n{changed.decode(errors='replace')}", pack(package.manifest().to_json(), sections)


def _container(rng: np.random.Generator, package: Package) -> tuple[str, bytes]:
    """Header and table of sections, with digest and checksums made anew."""
    content = bytearray(pack(package.manifest().to_json(), package.sections))
    if rng.integers(4) == 0:
        content = bytearray(damage_bytes(rng, bytes(content)))
        return f"{len(content)} bytes", bytes(content)
    at, size = header_or_entry(rng, 1 + len(package.sections))
    return f"bytes {at} to {at + size}", with_number(bytes(content), at, size, lambda old: pick_integer(rng, old))


KINDS: tuple[Callable[[np.random.Generator, Package], tuple[str, bytes]], ...] = (
    _manifest,
    _manifest,
    _related,
    _related,
    _details,
    _section,
    _section,
    _container,
)


@generator("artifacts", prepare=prepare)
def artifacts(rng: np.random.Generator) -> Case:
    packages = [corpus.package(name) for name in corpus.models()]
    package = corpus.digits_package() if rng.integers(16) == 0 else pick(rng, packages)
    return _case(rng, package)


@generator("shapes", prepare=prepare)
def shapes(rng: np.random.Generator) -> Case:
    """Artifacts of several shapes, and of extents that the data decide."""
    return _case(rng, pick(rng, (corpus.shapes_package, corpus.selecting_package))())


def _case(rng: np.random.Generator, package: Package) -> Case:
    description, content = pick(rng, KINDS)(rng, package)
    return Case(description, partial(_use, rng, content))


def _use(rng: np.random.Generator, content: bytes) -> None:
    """Everything that a user may do with an artifact. A refusal of one thing does not spare the others."""
    artifact = Artifact.open(content)
    refusal: TilewrightError | None = None
    each_shape = [partial(use, each) for each in artifact.in_shapes() for use in (_inspect, _simulate, _disassemble)]
    for use in (partial(_inspect, artifact), *each_shape, partial(_run, rng, artifact)):
        try:
            use()
        except TilewrightError as error:
            refusal = error
            str(error).encode()
    if refusal is not None:
        raise refusal


def _inspect(artifact: Artifact) -> None:
    engine = chosen_engine(artifact, None)
    for as_json in (False, True):
        enveloped("inspect", inspect_artifact(artifact, engine, None, as_json=as_json)).encode()
    enveloped("inspect", artifact_ir(artifact, engine, as_json=False)).encode()
    enveloped("inspect", inspect_artifact(artifact, engine, memory_map(artifact, engine), as_json=False)).encode()


def _simulate(artifact: Artifact) -> None:
    simulate_artifact(artifact).to_text().encode()


def _disassemble(artifact: Artifact) -> None:
    enveloped("inspect", disassembly(artifact, as_json=False)).encode()


def _run(rng: np.random.Generator, artifact: Artifact) -> None:
    # The networks are small, and texts of modules with other extents are the business of another generator.
    load_and_run(artifact, rng, engine=pick(rng, ENGINES))
