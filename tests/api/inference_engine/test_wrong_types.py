"""Every call and every property with values of every type: only errors that the API documents, in words of our own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tilewright.errors import TilewrightError
from tilewright.runtime.api import inference_engine
from tilewright.runtime.api.inference_engine import Blob, ExecutableNetwork, IECore, IENetwork, IEPlugin

DOCUMENTED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError)
LONG = 2500


class Unprintable:
    def __repr__(self) -> str:
        raise OSError("no text")


VALUES: list[object] = [
    *(None, -1, 10**5000, [10**5000], 1.5, float("nan"), 1j, "", "text", "a\0b", "\ud800", "x" * 5000, b"bytes"),
    *(
        [],
        [1],
        [None],
        ("conv1", 0),
        {},
        {1: "a"},
        {"data": [10**5000] * 4},
        {"data": 1},
        {"PERF_COUNT": Unprintable()},
    ),
    *(Unprintable(), np.zeros(3), np.array("a"), np.float32(2), int, Path("x"), iter([1])),
]


def calls(value: object, name: str) -> Iterator[tuple[str, Callable[..., object], int]]:
    """The calls and the setters of an object, and how many arguments each takes."""
    for member in dir(type(value)):
        static = inspect.getattr_static(type(value), member)
        if isinstance(static, property) and static.fset is not None:
            yield f"{name}.{member} =", lambda given, member=member: setattr(value, member, given), 1
        elif not member.startswith("_") and inspect.isfunction(static) and member != "wait":
            yield f"{name}.{member}", getattr(value, member), len(inspect.signature(static).parameters) - 1


def test_values_of_every_type(
    file: Path, shared: ExecutableNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network, core = IENetwork(str(file)), IECore()
    info = network.input_info["data"].preprocess_info
    info.init(3)
    desc = shared.requests[0].input_blobs["data"].tensor_desc
    objects = [core, IEPlugin("HETERO:CPU"), network, network.layers["conv1"], network.inputs["data"], network.outputs]
    objects += [shared, shared.requests[0], info, info[0], desc, Blob(desc)]
    first = {"query_network": (network, "CPU"), "load_network": (network,), "set_blob": ("data", Blob(desc))}
    found = [each for value in objects for each in calls(value, type(value).__name__)]
    found += [(f"{kind.__name__}()", kind, 2) for kind in (IECore, IEPlugin, IENetwork, Blob)]
    found += [
        (f"{name} =", lambda given, name=name: setattr(info, name, given), 1) for name in vars(info) if name[0] != "_"
    ]
    found += [(f"{name} =", lambda given, name=name: setattr(desc, name, given), 1) for name in vars(desc)]
    assert len(found) > 50
    for name, call, count in found:
        for value in VALUES:
            before = first.get(name.rpartition(".")[2], ("text",) * (count - 1))[: count - 1]
            try:
                call(*before, value)
            except DOCUMENTED as error:
                ours = isinstance(error, TilewrightError) or "positional argument" in str(error)
                assert ours, f"{name} of {type(value)} ends in {error!r}"
                assert len(str(error)) < LONG, name


@pytest.mark.parametrize("name", ["TensorDesc", "LayerStats", "PreProcessInfo"])
def test_values_of_every_type_in_classes_of_values(name: str) -> None:
    kind = getattr(inference_engine, name)
    for value in VALUES:
        for arguments in ((value,), ("FP32", value, "NCHW"), ("FP32", [1], value)):
            try:
                kind(*arguments)
            except DOCUMENTED as error:
                assert isinstance(error, TilewrightError) or "positional argument" in str(error)
