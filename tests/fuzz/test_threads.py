"""Random networks of which every step is shared out give the same bytes on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import random_inputs
from random_graphs import CONVOLUTIONAL, random_graph

from tilewright.codegen.cpu import parallel
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.errors import NothingToQuantizeError
from tilewright.runtime.execution import team
from tilewright.runtime.native.team_layout import HELP
from tilewright.runtime.session import load


def check(seed: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether there was a step to share."""
    monkeypatch.setattr(parallel, "_ALONE", 0)
    monkeypatch.setattr(parallel, "_ASLEEP", 0)
    # Networks so small have no team else, and nothing would be shared.
    monkeypatch.setattr(parallel, "_TEAM", 0)
    monkeypatch.setattr(team, "processors", lambda: 4)
    monkeypatch.setattr(team, "_crew", team._Crew())
    rng = np.random.default_rng(seed)
    is_quantized = seed % 2 == 0
    module = random_graph(rng, groups=10, makers=CONVOLUTIONAL) if is_quantized else random_graph(rng, groups=9)
    inputs = random_inputs(module, rng)
    options = CompileOptions(calibration="random", calibration_limit=2, effort="quick") if is_quantized else None
    content = export_onnx(module).SerializeToString()
    try:
        artifact, engine = compile_to_memory(content, options or CompileOptions()), "software" if options else "float"
    except NothingToQuantizeError:
        artifact, engine = compile_to_memory(content, CompileOptions()), "float"
    found: set[tuple[bytes, ...]] = set()
    for threads in (1, 2, 4):
        with load(artifact, engine=engine, threads=threads) as session:
            for _ in range(3):
                found.add(tuple(array.tobytes() for array in session.run(inputs).values()))
    assert len(found) == 1
    return HELP.encode() in bytes(artifact.section(artifact.manifest.cpu_programs[engine].code))


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(seed, monkeypatch)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", [4, 5, *range(100, 500)])
def test_many_more(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check(seed, monkeypatch)
