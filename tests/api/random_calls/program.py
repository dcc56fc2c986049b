"""Random calls of a documented interface from several threads, valid and invalid mixed; a program of its own.

    python -m api.random_calls.program INTERFACE INFERENCES THREADS CALLS SECONDS SEED

It prints, as JSON, by how many bytes the memory grew in so many inferences, and how often each call succeeded and was
refused then. It fails where a call raises what the interface does not document, or where a result is wrong, lost or
given twice; and after a while with the stacks of all threads where anything hangs.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import random
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple, Protocol

from shared_kernels import share_kernels

HANGS = 420
"""Seconds after which the program has failed."""


class Call(NamedTuple):
    """A call as the table of an interface lists it: how often it is made, against the others, and what makes it."""

    name: str
    weight: int
    make: Callable[[random.Random], object]


class Interface(Protocol):
    """What there is to know of an interface; made by `INTERFACE(folder)`, where `folder` is the current one, empty.

    Attributes:
        refusals: the exceptions that calls may end in.
        calls: the table.
    """

    refusals: tuple[type[Exception], ...]
    calls: Sequence[Call]

    def infer(self) -> None:
        """One inference of each kind, results taken; random calls may follow."""
        ...

    def finish(self) -> None:
        """Check, when all threads have ended, that nothing is lost."""
        ...


INTERFACES = {
    "FWDNXT": ("accelerator", "SecondGeneration"),
    "MDLA": ("accelerator", "ThirdGeneration"),
    "kp": ("kp", "Devices"),
    "pynq": ("pynq", "Card"),
    "simulator": ("simulator", "Simulator"),
    "inference_engine": ("inference_engine", "InferenceEngine"),
}


class Ledger:
    """What was put and what came out, by serial number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self.accepted: set[int] = set()
        self.taken: Counter[int] = Counter()

    def serial(self) -> int:
        """A number for what will be put."""
        with self._lock:
            self._next += 1
            return self._next

    def accept(self, serial: int) -> None:
        """It has been put."""
        with self._lock:
            self.accepted.add(serial)

    def take(self, serial: int) -> None:
        """Its result has come out, perhaps before the call that put it has returned."""
        with self._lock:
            self.taken[serial] += 1

    def check(self) -> None:
        """Everything that was put came out once, and nothing else."""
        assert self.taken == Counter(self.accepted), {
            "lost": sorted(self.accepted - self.taken.keys())[:5],
            "from nowhere": sorted(self.taken.keys() - self.accepted)[:5],
            "twice": [serial for serial, count in self.taken.items() if count > 1][:5],
        }


def make_calls(interface: Interface, threads: int, calls: int, seconds: float, seed: int) -> dict[str, list[int]]:
    """So many random calls by each thread, and more until the time is over; [successes, refusals] of each."""
    counts: Counter[tuple[str, bool]] = Counter()
    failures: list[str] = []
    end = monotonic() + seconds
    weights = [call.weight for call in interface.calls]

    def work(index: int) -> None:
        generator = random.Random(f"{seed} {index}")
        made = 0
        while not failures and (made < calls or monotonic() < end):
            made += 1
            call = generator.choices(interface.calls, weights)[0]
            try:
                call.make(generator)
            except interface.refusals:
                counts[call.name, False] += 1
            except BaseException:
                failures.append(f"{call.name}: {traceback.format_exc()}")
            else:
                counts[call.name, True] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        # Not for a limited time: a thread that comes back might, for all one can know, still help those that wait.
        worker.join()
    assert not failures, failures[0]
    interface.finish()
    return {call.name: [counts[call.name, True], counts[call.name, False]] for call in interface.calls}


def resident_bytes() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(interface: Interface, inferences: int) -> int:
    """Bytes by which the memory grows during all inferences but the first tenth."""
    for _ in range(inferences // 10):
        interface.infer()
    before = resident_bytes()
    for _ in range(inferences - inferences // 10):
        interface.infer()
    return resident_bytes() - before


def main(name: str, inferences: str, *numbers: str) -> tuple[int, dict[str, list[int]]]:
    """Make an interface in a folder of its own, and do what is asked."""
    module, attribute = INTERFACES[name]
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        interface: Interface = getattr(importlib.import_module(f"api.random_calls.{module}"), attribute)()
        grown = growth(interface, int(inferences))
        threads, calls, seconds, seed = map(int, numbers)
        # What inferences leave behind, such as a time limit, must not hold up the calls after them.
        return grown, make_calls(interface, threads, calls, seconds, seed)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(HANGS, exit=True)
    warnings.simplefilter("ignore")
    share_kernels()
    # What calls print is not the answer.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        answer = main(*sys.argv[1:])
    sys.stdout.write(json.dumps(answer))
