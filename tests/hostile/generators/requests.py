"""Requests to what ``tilewright serve`` serves, damaged: JSON, the bytes behind it, headers and path."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from asgi_client import asked
from inference_requests import HEADER, NAMES, request_of
from onnx import helper

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import InputError
from tilewright.runtime.serving.application import Application
from tilewright.runtime.serving.model import Model
from tilewright.runtime.session import load

from ..execution import random_array_of
from ..generator import Case, generator
from ..guarded_session import become_a_stranger
from ..mutation import LARGE, damage_bytes, damage_json, pick

_WORDS = (b"[" * 100_000, b"9" * 5000, b"1e999", b"NaN", b'"\\ud800"', b'{"a":' * 2000, b"null", b"-0", b"\xff\xfe")


@cache
def application() -> Any:
    """One network with an input of each element type, twice: with one shape, and with several."""
    become_a_stranger()
    models: list[Model] = []
    for version, shapes in ((1, None), (2, {"batch": [1, 2, 5]})):
        ends = {
            kind: [
                helper.make_tensor_value_info(
                    f"{kind}{name}", helper.np_dtype_to_tensor_dtype(np.dtype(name)), ["batch" if shapes else 2, 2]
                )
                for name in NAMES
            ]
            for kind in ("", "y")
        }
        nodes = [helper.make_node("Where", ["|b1", name, name], [f"y{name}"]) for name in NAMES if name != "|b1"]
        nodes.append(helper.make_node("Not", ["|b1"], ["y|b1"]))
        graph = helper.make_graph(nodes, "typed", ends[""], ends["y"])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = CompileOptions(precision="fp32", input_shapes=shapes or {})
        session = load(compile_to_memory(model.SerializeToString(), options), queue=1)
        every = [(each.manifest.inputs, each.manifest.outputs) for each in session.artifact.in_shapes()]
        models.append(Model("typed", version, session, every, None, 1, 8))
    return Application(models, "1.2.3", 30.0).asgi


def _changed(rng: np.random.Generator, body: bytes, headers: dict[str, str]) -> bytes:
    """Other JSON, other bytes, or a piece of JSON that no reader should be given."""
    length = int(headers.get(HEADER, len(body)))
    text, behind = body[:length], body[length:]
    kind = rng.integers(6)
    if kind < 3:
        text = json.dumps(damage_json(rng, json.loads(text), int(rng.integers(1, 4)))).encode()
    elif kind == 3:
        at = int(rng.integers(len(text)))
        text = text[:at] + pick(rng, _WORDS) + text[at + int(rng.integers(3)) :]
    else:
        body = damage_bytes(rng, body)
        text, behind = body[:length], body[length:]
    if HEADER in headers and rng.integers(4):
        headers[HEADER] = str(len(text))
    elif rng.integers(4) == 0:
        headers[HEADER] = pick(rng, ("", "-1", "x", "1e3", "³", str(len(text) + 1), *map(str, LARGE)))
    return text + behind


@generator("requests", prepare=application)
def requests(rng: np.random.Generator) -> Case:
    rows = int(rng.integers(1, 6)) if rng.integers(2) else 2
    arrays = {name: random_array_of(rng, (rows, 2), np.dtype(name)) for name in NAMES}
    if not rng.integers(3):
        arrays = {name: np.zeros(array.shape, array.dtype) for name, array in arrays.items()}
    body, headers = request_of(arrays, binary=bool(rng.integers(2)), id="é")
    if rng.integers(8):
        body = _changed(rng, body, headers)
    if rng.integers(8) == 0:
        headers["Content-Length"] = pick(rng, ("", "-1", "x", "0", *map(str, LARGE)))
    path = f"/v2/models/typed{pick(rng, ('', '/versions/1', '/versions/2'))}/infer"
    if rng.integers(16) == 0:
        path = damage_bytes(rng, path.encode()).decode("latin-1")
    cut = int(rng.integers(len(body) + 1))
    pieces = body if rng.integers(4) else [body[:cut], body[cut:]]
    ends = bool(rng.integers(16))

    def run() -> None:
        answer = asked(application(), path, pieces, headers, ends=ends)
        if answer.status != 200:
            assert answer.status in (400, 404, 405, 408, 413, 415, 429), (answer.status, answer.body[:500])
            raise InputError(answer.json["error"])

    return Case(f"{path} {headers} {ends}\n{body[:2000]!r}", run)
