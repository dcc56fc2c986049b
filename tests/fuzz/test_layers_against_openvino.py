"""Random layers of IR v11: what they are imported as computes what openvino computes."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

openvino_oracle = pytest.importorskip("openvino_oracle", reason="openvino is not installed")

import openvino_detection  # noqa: E402
from openvino_layers import MAKERS  # noqa: E402

from tilewright.compiler.frontend.formats import import_model  # noqa: E402
from tilewright.ir.interp import run  # noqa: E402

assert openvino_detection, "importing it adds makers"


def check(name: str, seed: int, folder: Path) -> None:
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    model, arrays = openvino_oracle.layer(name, rng)
    expected = openvino_oracle.run(model, arrays)
    module = import_model(openvino_oracle.save(model, folder / "net.xml"))
    names = [parameter.get_friendly_name() for parameter in model.get_parameters()]
    found = run(module, dict(zip(names, arrays, strict=True)))
    for ours, theirs in zip(found.values(), expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MAKERS)
def test_random_layers(name: str, seed: int, tmp_path: Path) -> None:
    check(name, seed, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 160))
@pytest.mark.parametrize("name", MAKERS)
def test_many_more(name: str, seed: int, tmp_path: Path) -> None:
    check(name, seed, tmp_path)
