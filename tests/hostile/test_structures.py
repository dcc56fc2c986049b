"""Structures that no damage to sound input reaches: any JSON, any sequence of tokens. hypothesis makes them small."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from property_tests import given, st

from tilewright.compiler.affinity import parse_affinity
from tilewright.errors import TilewrightError
from tilewright.ir.op import REGISTRY
from tilewright.ir.text.parser import parse_module
from tilewright.ir.verify import verify
from tilewright.passes.pipeline import PASSES, Pipeline
from tilewright.runtime.artifact.manifest import Manifest, ModelInfo
from tilewright.runtime.machines import machine
from tilewright.runtime.pictures.preprocessing import Preprocessing

from .generators.ir_text import WORDS

NUMBERS = st.integers() | st.integers(-(2**64), 2**64) | st.floats()
VALUES = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
JSON = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=12)

MANIFEST = json.loads(Manifest("1", ModelInfo("", ""), "fp32", (), (), {}, {}).to_json())
MACHINE = {"format": 1, **machine.load("s256").to_dictionary()}

TOKEN = st.sampled_from(
    [*WORDS, *REGISTRY, *"()[]{}<>=,:#_", "->", "@a", "%x", "%y", "0", "1", "-1", "0x1.0p+0", '"s"']
)
PIPELINE = st.sampled_from([*PASSES, *"{}[],=", "limit", "1", "-1.5", "true", '"x"'])
"""Those of modules, and those of pipelines of passes."""


def with_other_fields(sound: dict[str, Any]) -> st.SearchStrategy[str]:
    """A JSON object like a sound one, but for some of its fields."""
    others = st.dictionaries(st.sampled_from(sorted(sound)) | st.text(max_size=4), JSON, max_size=3)
    return others.map(lambda changed: json.dumps({**sound, **changed}))


@given((JSON.map(json.dumps) | with_other_fields(MANIFEST)).map(lambda text: text.encode()))
def test_manifests(text: bytes) -> None:
    with contextlib.suppress(TilewrightError):
        Manifest.from_json(text)


@given(JSON.map(json.dumps) | with_other_fields(MACHINE) | st.text())
def test_descriptions_of_machines(text: str) -> None:
    with contextlib.suppress(TilewrightError):
        machine.read_file(text, "m.json")


@given(st.lists(TOKEN, max_size=30), st.booleans())
def test_modules(tokens: list[str], in_a_function: bool) -> None:
    text = " ".join(tokens)
    if in_a_function:
        text = f"module @m {{ func @main(%x: f32[2]) -> (%y: f32[2]) {{ %y = {text} return %y }} }}"
    with contextlib.suppress(TilewrightError):
        verify(parse_module(text))


@given(st.lists(PIPELINE, max_size=12).map("".join) | st.text())
def test_pipelines(text: str) -> None:
    with contextlib.suppress(TilewrightError):
        Pipeline.parse(text)


@given(JSON.map(json.dumps) | st.text())
def test_affinity_files(text: str) -> None:
    with contextlib.suppress(TilewrightError):
        parse_affinity(text)


@given(st.dictionaries(st.sampled_from(["mean", "std", "scale", "layout", "size", "x"]), JSON))
def test_preprocessing(fields: dict[str, Any]) -> None:
    with contextlib.suppress(TilewrightError):
        Preprocessing.of(fields)
