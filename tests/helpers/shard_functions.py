"""Functions of shards that other processes can be told of, which fail or end as they are told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Squares:
    """The squares of numbers. A call leaves a file in ``folder`` for each shard that it begins.

    Attributes:
        deadly: the process is killed when it comes upon this number for the first time.
        wrong: always an error.
    """

    folder: str
    deadly: int = -1
    wrong: int = -1

    def __call__(self, numbers: Sequence[int]) -> dict[str, Any]:
        mark = Path(self.folder) / f"{numbers[0]}"
        is_first = not mark.exists()
        with mark.open("a") as file:
            file.write("x")
        if self.deadly in numbers and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.wrong in numbers:
            raise ValueError(f"{self.wrong} has no square")
        return {"squares": [number**2 for number in numbers], "as array": np.array(numbers, np.int16), "third": 1 / 3}

    def calls(self) -> dict[int, int]:
        """How often each shard was begun, by its first number."""
        return {int(mark.name): len(mark.read_text()) for mark in Path(self.folder).iterdir()}
