"""Artifacts from strangers, loaded and run with arena, constants, inputs and outputs between guard pages."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import numpy as np
from guard_pages import PLACEMENTS, GuardedMemory, Placement, guarded_copy

from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.execution import buffers as buffers_module
from tilewright.runtime.execution.buffers import Buffers
from tilewright.runtime.session import Session, load

from .execution import random_array_of
from .mutation import pick

MEMORY_LIMIT = 256 << 20
TIME_LIMIT = 5.0
"""What strangers' artifacts are loaded with, as docs/security.md tells to."""

MOST_BYTES = 16 << 20
"""Of the tensors that are made to run a session."""


def become_a_stranger() -> None:
    """Whatever this process writes is signed by nobody, and nothing that it generates is kept for others."""
    os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_CACHE_HOME"] = "/dev/null/nowhere"


@contextmanager
def guarded(placement: Placement, fill: Callable[[], int]) -> Iterator[None]:
    """Sessions made and run meanwhile have all their memory between guard pages.

    Args:
        fill: what arena and outputs hold before a run: the byte.
    """
    checked: list[GuardedMemory] = []

    def allocate_arena(size: int) -> np.ndarray:
        memory = GuardedMemory(size, "the arena", placement, alignment=64)
        checked.append(memory)
        return memory.bytes

    initialize, bind = Buffers.__init__, Buffers.bind

    def guarded_initialize(
        self: Buffers, arena_bytes: int, constants: np.ndarray, inputs: int, outputs: Sequence[object]
    ) -> None:
        memory = GuardedMemory(constants.nbytes, "the constants", placement, alignment=64)
        memory.bytes[:] = constants
        initialize(self, arena_bytes, memory.bytes, inputs, outputs)  # pyright: ignore[reportArgumentType]

    def guarded_bind(self: Buffers, inputs: Sequence[np.ndarray], *rest: object) -> None:
        copies = [guarded_copy(array, f"input {i}", placement) for i, array in enumerate(inputs)]
        bind(self, copies, *rest)  # pyright: ignore[reportArgumentType]
        self._arena[:] = fill()
        self.outputs = [guarded_copy(array, f"output {i}", placement) for i, array in enumerate(self.outputs)]
        for index, array in enumerate((*self.inputs, *self.outputs)):
            self._addresses[index] = array.ctypes.data
        for array in self.outputs:
            array.reshape(-1).view(np.uint8)[:] = fill()

    with (
        mock.patch.object(buffers_module, "allocate_arena", allocate_arena),
        mock.patch.object(Buffers, "__init__", guarded_initialize),
        mock.patch.object(Buffers, "bind", guarded_bind),
    ):
        yield
    for memory in checked:
        memory.check()


def load_and_run(
    source: bytes | Artifact,
    rng: np.random.Generator,
    *,
    engine: str | None = None,
    is_short: bool = True,
    runs: bool = True,
) -> None:
    """Load an artifact with the limits for strangers and run it twice, on memory that held different bytes before.

    Fails if the outputs depend on what the memory held.

    Args:
        is_short: whether a run is known to end soon; otherwise it is only loaded.
    """
    placement = pick(rng, PLACEMENTS)
    fills = 0

    def fill() -> int:
        return (0x00, 0xFF, 0x7F)[fills]

    with guarded(placement, fill):
        session = load(source, engine=engine, memory_limit=MEMORY_LIMIT, time_limit=TIME_LIMIT)
        with session:
            if not is_short or not runs or _bytes(session) > MOST_BYTES:
                return
            shapes = pick(rng, session.shapes)
            inputs = {spec.name: random_array_of(rng, shapes[spec.name], spec.numpy) for spec in session.inputs}
            found = session.run(inputs)
            fills = 1
            again = session.run(inputs)
    for name, array in found.items():
        assert array.tobytes() == again[name].tobytes(), f"output {name!r} depends on memory that nobody wrote"


def _bytes(session: Session) -> int:
    return sum(math.prod(spec.shape) * spec.numpy.itemsize for spec in (*session.inputs, *session.outputs))
