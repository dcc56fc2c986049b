"""What answers :mod:`.emulated`, run by a Python of another architecture that has numpy and our runtime alone."""

from __future__ import annotations

import ctypes
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import tilewright
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.native import host
from tilewright.runtime.native.mapping import NativeObject

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

Call = tuple[Sequence[np.ndarray], Sequence[tuple[tuple[int, ...], np.dtype]], int | None]
"""Operands of a kernel, shapes and element types of its results, and the operand that the only one is written over."""


def features() -> frozenset[str]:
    return host.usable_here()


def network(content: bytes, inputs: Mapping[str, np.ndarray], engine: str, threads: int) -> dict[str, np.ndarray]:
    artifact = Artifact.open(content)
    with tilewright.load(artifact, engine=engine, regenerate=False, trust=artifact.digest, threads=threads) as session:
        return dict(session.run(inputs))


def kernels(code: bytes, entry: str, calls: Sequence[Call], scratch: int) -> list[list[np.ndarray] | None]:
    """Results of kernels that are the steps of one object; ``None`` of one that refuses its operands."""
    native = NativeObject(code)
    run = _ENTRY(native.address(entry))
    work, goes_on = np.zeros(scratch + 64, np.uint8), ctypes.c_int32()
    tensors: list[list[np.ndarray]] = []
    for operands, results, in_place in calls:
        own = [np.ascontiguousarray(each).copy() for each in operands]
        tensors.append([*own, *(np.full(s, 0x5A, d) for s, d in results)] if in_place is None else own)
    table = (ctypes.c_void_p * max(1, sum(map(len, tensors))))(*(a.ctypes.data for own in tensors for a in own))
    start = work.ctypes.data + -work.ctypes.data % 64
    context = (ctypes.c_void_p * 5)(start, None, ctypes.addressof(table), ctypes.addressof(goes_on), None)
    found: list[list[np.ndarray] | None] = []
    for step, ((operands, results, in_place), own) in enumerate(zip(calls, tensors, strict=True)):
        refused = run(ctypes.addressof(context), step, step + 1)
        written = own[len(operands) :] if in_place is None else [own[in_place]]
        found.append(None if refused else [a.view(d).reshape(s) for a, (s, d) in zip(written, results, strict=True)])
    return found


def serve() -> None:
    answers: dict[str, Callable[..., object]] = {each.__name__: each for each in (features, network, kernels)}
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            name, *arguments = pickle.load(source)
        except EOFError:
            return
        try:
            answer: object = answers[name](*arguments)
        except Exception:
            answer = traceback.format_exc()
        pickle.dump(answer, sink)
        sink.flush()


if __name__ == "__main__":
    serve()
