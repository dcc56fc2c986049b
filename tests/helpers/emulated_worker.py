"""What answers :mod:`.emulated`, run by a Python of another architecture that has numpy and our runtime alone."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable, Mapping

import numpy as np

import tilewright
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.native import host


def features() -> frozenset[str]:
    return host.usable_here()


def network(content: bytes, inputs: Mapping[str, np.ndarray], engine: str, threads: int) -> dict[str, np.ndarray]:
    artifact = Artifact.open(content)
    with tilewright.load(artifact, engine=engine, regenerate=False, trust=artifact.digest, threads=threads) as session:
        return dict(session.run(inputs))


def serve() -> None:
    answers: dict[str, Callable[..., object]] = {each.__name__: each for each in (features, network)}
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
