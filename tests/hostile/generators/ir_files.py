"""IR files of the Inference Engine with damaged bytes, and with other elements, attributes, edges and arrays."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from legacy_networks import fcn_like, resnet_like
from operator_samples import all_cases

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.exporter import export_document
from tilewright.compiler.frontend.ir.families import EXPORTS
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.compiler.frontend.ir.writer import content_of
from tilewright.compiler.options import CompileOptions
from tilewright.errors import UnsupportedError
from tilewright.ir.types import DType

from ..corpus import models
from ..generator import Case, generator
from ..guarded_session import become_a_stranger, load_and_run
from ..mutation import damage_bytes, damage_text, pick, pick_integer

_FEW = 12
"""Layers of a network that is compiled within a moment."""

Files = tuple[bytes, bytes]
"""The contents of an .xml file and of its .bin file."""

WORDS = (
    "", " ", "-1", "0", "1e400", "nan", "true", "x", ",", "1,,2", "-", "é\u2028", "9" * 19, "9" * 5000, "a" * 100_000,
    "1," * 50_000, "f16", "bf16", "u4", "boolean", "FP16", "numpy", "none", "pdpd", "same_upper", "valid", "opset99",
)  # fmt: skip
"""What attributes and texts may become."""

TYPES = ("Const", "Parameter", "Result", "Input", "Add", "Convolution", "Reshape", "If", "Loop", "Nothing", "ReLU")

PROLOGUES = (
    b'<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
    b'<!DOCTYPE net SYSTEM "file:///etc/passwd">',
    b'<?xml version="1.0" encoding="utf-16"?>',
    b'<?xml version="1.0" encoding="nothing"?>',
    b"<net/>",
    b"\xff\xfe",
    b"<a>" * 100,
)


@cache
def originals() -> tuple[Files, ...]:
    """Networks of versions 2 to 7, small ones of version 11, and each operator that IR has a form for."""
    found: list[Files] = []
    with tempfile.TemporaryDirectory() as folder:
        for net in (resnet_like(2), resnet_like(5, "FP16"), fcn_like(3, "FP16"), fcn_like(7)):
            xml = net.write(Path(folder))
            found.append((xml.read_bytes(), xml.with_suffix(".bin").read_bytes()))
    modules = [import_model(content) for content in models().values()]
    seen: set[type] = set()
    for case in all_cases():
        (op,) = case.module.main.ops
        types = [value.type for value in (*op.inputs, *op.results)]
        has_form = type(op.operator) in EXPORTS and all(t.quant is None and t.dtype is not DType.F16 for t in types)
        if has_form and type(op.operator) not in seen and all(t.elements < 10_000 for t in types):
            seen.add(type(op.operator))
            modules.append(case.module)
    for module in modules:
        try:
            text, pieces = content_of(export_document(module))
        except UnsupportedError:
            continue
        found.append((text, b"".join(pieces)))
    return tuple(found)


def prepare() -> None:
    """Also compiles one network, which loads what compiling needs."""
    become_a_stranger()
    text, binary = originals()[-1]
    compile_to_memory(read_document(text, binary), CompileOptions())


@generator("ir_file_bytes", prepare=prepare, cases=5_000)
def ir_file_bytes(rng: np.random.Generator) -> Case:
    """Bytes of either file changed, cut off or repeated; sometimes something in front."""
    text, binary = pick(rng, originals())
    kind = rng.integers(10)
    if kind < 5:
        text = damage_bytes(rng, text)
    elif kind < 9:
        binary = damage_bytes(rng, binary)
    else:
        text = pick(rng, PROLOGUES) + text
    return _case(rng, text, binary)


@generator("ir_file_structure", prepare=prepare, cases=5_000)
def ir_file_structure(rng: np.random.Generator) -> Case:
    text, binary = pick(rng, originals())
    root = ElementTree.fromstring(text)
    for _ in range(int(rng.integers(1, 4))):
        change(rng, root)
    return _case(rng, ElementTree.tostring(root), binary)


def change(rng: np.random.Generator, root: Element) -> None:
    """One thing changed: an attribute, an extent, an edge, a layer, or where some element stands."""
    everything = list(root.iter())
    kind = rng.integers(10)
    if kind < 4:
        element = pick(rng, [each for each in everything if each.attrib])
        key = pick(rng, list(element.attrib))
        if rng.integers(8) == 0:
            del element.attrib[key]
        else:
            element.set(key, other_text(rng, element.attrib[key]))
    elif kind < 5:
        extents = [each for each in everything if each.tag == "dim"]
        if extents:
            extent = pick(rng, extents)
            extent.text = other_text(rng, extent.text or "")
    elif kind < 7:
        edges = root.findall("edges/edge")
        if edges:
            edge, other = pick(rng, edges), pick(rng, edges)
            key = pick(rng, list(edge.attrib) or ["from-layer"])
            edge.set(key, other.get(pick(rng, list(other.attrib) or [key]), "0"))
    elif kind < 8:
        layers = root.findall("layers/layer")
        if layers:
            pick(rng, layers).set("type", pick(rng, [pick(rng, layers).get("type", ""), *TYPES]))
    else:
        _move(rng, everything)


def other_text(rng: np.random.Generator, text: str) -> str:
    """Another text: a number changed, a letter, a list made longer or shorter, or a word that is none of them."""
    kind = rng.integers(6)
    parts = text.replace(" ", "").split(",")
    if kind < 3:
        at = int(rng.integers(len(parts)))
        is_number = parts[at].lstrip("-").isascii() and parts[at].lstrip("-").isdigit() and len(parts[at]) < 20
        parts[at] = str(pick_integer(rng, int(parts[at]) if is_number else 0))
        return ",".join(parts)
    if kind == 3 and text:
        return damage_text(rng, text)
    if kind == 4:
        return ",".join([*parts, parts[-1]] if rng.integers(2) else parts[:-1])
    return pick(rng, WORDS)


def _move(rng: np.random.Generator, everything: list[Element]) -> None:
    """An element removed, doubled, or copied into another one."""
    parents = [each for each in everything if len(each)]
    if not parents:
        return
    parent = pick(rng, parents)
    child = pick(rng, list(parent))
    kind = rng.integers(3)
    if kind == 0:
        parent.remove(child)
    elif kind == 1:
        parent.append(copy.deepcopy(child))
    else:
        pick(rng, parents).append(copy.deepcopy(child))


def _case(rng: np.random.Generator, text: bytes, binary: bytes) -> Case:
    return Case(f"{text!r}\n{len(binary)} bytes: {binary[:1000]!r}", lambda: _use(rng, text, binary))


def _use(rng: np.random.Generator, text: bytes, binary: bytes) -> None:
    """Read and import; now and then, if it is small, compile and run."""
    document = read_document(text, binary)
    if rng.integers(6) or len(document.layers) > _FEW:
        import_model(document)
        return
    artifact = compile_to_memory(document, CompileOptions())
    load_and_run(artifact, rng, engine=pick(rng, list(artifact.manifest.engines)))
