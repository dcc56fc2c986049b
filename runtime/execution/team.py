"""The threads that share the work of a run: helpers, which the process has once for all sessions, and teams of them.

A thread that runs a program takes helpers along, as many as are free and the session wants. With it there are as many
as processors, so that sessions and workers which run at once never have more threads at work than that. A helper
computes in native code that the program brings, without the interpreter's lock. There it stays after a run, asleep, so
that the next run of the same session has it at once, without Python: until another team needs it, or its own is gone.
"""

import ctypes
import os
import threading
import weakref
from collections import defaultdict, deque
from functools import cache
from time import perf_counter

import numpy as np

from tilewright.errors import UsageError
from tilewright.limits import THREADS, check_count

from ..artifact.memory import private_pages
from ..native import host
from ..native.mapping import NativeObject
from ..native.team_layout import HELP, RECALL, SCRATCH, TeamLayout
from ..waiting import at_fork, start

VARIABLE = "TILEWRIGHT_THREADS"

_MOST = 4
"""Threads for each processor: of many more, most wait while they have work that the others need."""

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)

_TRIED_AFTER = (4, 128)
"""Runs after which the slower way is tried again: at first, and when it has been the slower one again and again."""

_REMEMBERED, _TRIALS = 16, 3
"""Times that are remembered of the usual way, and runs in a row of the one that is tried, unless it is soon clear."""

_PAUSE = 1e-3
"""Seconds after a run from which helpers sleep and caches belong to others, and the next run is unlike this one."""

_FUNCTIONS = {TeamLayout.SYSCALL: "syscall", TeamLayout.CLOCK: "clock_gettime", TeamLayout.GETCPU: "sched_getcpu"}
"""Of the C library, by the field that holds their address."""

_GENERIC = (98, 124, 123, 122)
_NUMBERS = {"x86_64": (202, 24, 204, 203), "aarch64": _GENERIC, "riscv64": _GENERIC}
"""The numbers of the system calls ``futex``, ``sched_yield``, ``sched_getaffinity`` and ``sched_setaffinity``, by
architecture."""


@cache
def processors() -> int:
    """How many threads compute at once in this process: one for each processor, or as many as the environment says, up
    to :data:`_MOST` for each. Raises UsageError: the environment says what is no number, or out of range."""
    given = os.environ.get(VARIABLE)
    if given is None:
        return min(host.processors(), THREADS)
    digits = given.lstrip("0")
    if not (given.isascii() and given.isdigit() and len(digits) < 9 and 1 <= int(digits or 0) <= THREADS):
        hint = f"Without {VARIABLE} there is one for each core."
        raise UsageError(
            f"wrong {VARIABLE}", expected=f"a number from 1 to {THREADS}", found=f"{given!r:.42}", hint=hint
        )
    return min(int(digits), _MOST * (os.cpu_count() or 1))


def thread_count(threads: int | None) -> int:
    """The threads that compute a request: as many as asked for, but no more than :func:`processors`.
    Raises UsageError: the number is out of range."""
    asked = None if threads is None else check_count("threads", threads)
    # What the system says takes half a millisecond, which a fresh process need not wait for where one is enough.
    if asked == 1 and VARIABLE not in os.environ:
        return 1
    return processors() if asked is None else min(asked, processors())


def _pages(size: int) -> np.ndarray:
    """Memory of its own for threads, u8[size or more], zeros."""
    return np.frombuffer(private_pages(max(1, size), "threads"), np.uint8)


class _Helper:
    """A thread that teams call. It starts when it is called first, and does not keep the process from ending.
    ``number``: among all helpers; its place in the memory of every team.
    ``called``: what it was called to last.
    ``shared``: int32 [2], what programs know of it, see `TeamLayout`."""

    def __init__(self, number: int) -> None:
        # Late: what computes on one thread has none.
        from queue import SimpleQueue

        self.number = number
        self.called: weakref.ref[_Work] | None = None
        self._calls: SimpleQueue[_Work] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.shared = (ctypes.c_int32 * 2)()
        self.address = ctypes.addressof(self.shared)

    def call(self, work: "_Work") -> None:
        """Have it take part in work as soon as it has left what it was called to before."""
        if self._thread is None:
            name = f"tilewright-helper-{self.number}"
            self._thread = threading.Thread(target=self._help, name=name, daemon=True)
            try:
                start(self._thread)
            except RuntimeError:
                # The system starts no more threads: those that are there do the work.
                self._thread = None
                return
            self.shared[0] = self._thread.native_id or 0
        self.called = weakref.ref(work)
        self._calls.put(work)

    def _help(self) -> None:
        while True:
            work = self._calls.get()
            # Only the last call counts.
            while not self._calls.empty():
                work = self._calls.get()
            work.join(work.address, self.number)
            del work


class _Crew:
    """The helpers of this process that are free; one stands for the processor of the thread that runs a program."""

    def __init__(self) -> None:
        self._free: list[_Helper] | None = None
        at_fork(self)

    def leave_behind(self) -> None:
        """In a forked process, which has none of the threads."""
        self._free = None

    @property
    def free(self) -> list[_Helper]:
        """Those of this process. Without a lock: taking from a list and adding to it are atomic."""
        if self._free is None:
            self._free = [_Helper(number) for number in range(processors())]
        return self._free


_crew = _Crew()


class Pace:
    """Whether helpers make a piece of a program faster, found out as it runs.

    Where other programs use the processors, a helper that waits for one keeps the caller waiting, and both together may
    be slower than the caller alone. So the other way is tried once in a while, and the faster one is taken, by the mean
    of its last runs: helpers are held up in some runs, and then for long. The first run of all does not count: it may
    take many times as long as those that follow.

    ``unlearnt``: runs ahead without helpers of which nothing need be learnt, as those before the next trial are enough
    to compare it with: after a pause what learns takes a cold interpreter as long as a short step."""

    def __init__(self) -> None:
        self.unlearnt = self._unlearnt = 0
        self._together, self._is_proven = True, False
        self._usual, self._tried = deque[float](maxlen=_REMEMBERED), list[float]()
        # Runs in each way before the other is tried again.
        self._patience = dict.fromkeys((True, False), _TRIED_AFTER[0])
        self._runs = 0

    def next(self) -> bool:
        """Whether helpers are to take part in the next run."""
        runs = self._runs + self._unlearnt - self.unlearnt
        return self._together if runs <= self._patience[self._together] else not self._together

    def took(self, together: bool, seconds: float) -> None:
        """Learn how long a run took."""
        self._runs += 1
        if together == self._together:
            if self._runs > 1:
                self._usual.append(seconds)
            return
        self._tried.append(seconds)
        usual, most = sum(self._usual) / len(self._usual), max(self._usual)
        # The first run with helpers after some without wakes them, which takes longer than they save of a short one.
        is_waking = together and len(self._tried) == 1
        unclear = 2 * most if is_waking else most if together else usual
        if seconds <= unclear and len(self._tried) < _TRIALS + together:
            return
        tried, self._tried = self._tried[together and len(self._tried) > 1 :], []
        # Only times of now are compared: earlier ones may be of a machine that had other things to do.
        is_better = sum(tried) / len(tried) < usual
        way = together if is_better else not together
        # A way that is left as soon as it has been taken only seemed better: it is tried less often.
        self._patience[way] = (
            _TRIED_AFTER[0] if is_better and self._is_proven else min(2 * self._patience[way], _TRIED_AFTER[1])
        )
        self._is_proven = not is_better
        if is_better:
            self._together, self._usual = together, deque(tried, maxlen=_REMEMBERED)
        self.unlearnt = self._unlearnt = 0 if self._together else max(0, self._patience[False] - _REMEMBERED)
        self._runs = 1


class _Work:
    """What threads share: it lasts until the last helper has left it, however long its team does.
    ``memory``: see `TeamLayout`.
    ``join``, ``recall``: functions of the program, see `HELP` and `RECALL`; they take an address and a helper's number.
    ``scratch``: memory of each helper that was called, by number."""

    def __init__(self, native: NativeObject) -> None:
        self._native = native
        self.join, self.recall = (_Function(native.address(name)) for name in (HELP, RECALL))
        self.memory = _pages(TeamLayout.MEMBERS + processors() * TeamLayout.MEMBER_BYTES)
        self.address = self.memory.ctypes.data
        self.scratch: dict[int, np.ndarray] = {}

    def send_all_away(self) -> None:
        for number in [*self.scratch]:
            self.recall(self.address, number)


class Team:
    """The threads of one run at a time: the caller of a program and its helpers.
    ``threads``: how many there may be, at least 2.
    ``address``: of the memory that they share, for the program.
    Raises ResourceError: no memory."""

    def __init__(self, native: NativeObject, threads: int) -> None:
        self._work = work = _Work(native)
        self._most = threads
        self._scratch_bytes = scratch_bytes(native)
        self._short, self._long = work.memory.view(np.int32), work.memory.view(np.int64)
        self.address = work.address
        for field, name in _FUNCTIONS.items():
            self._long[field // 8] = ctypes.cast(ctypes.CDLL(None)[name], ctypes.c_void_p).value or 0
        fields = (TeamLayout.FUTEX, TeamLayout.YIELD, TeamLayout.GET_AFFINITY, TeamLayout.SET_AFFINITY)
        self._long[[field // 8 for field in fields]] = _NUMBERS[host.architecture()]
        self._count = 0
        self._taken: list[_Helper] = []
        self._free: list[_Helper] = []
        self._paces: defaultdict[tuple[int, int, bool], Pace] = defaultdict(Pace)
        self._ended = 0.0
        # Helpers keep the work while they are in it, but not the team.
        weakref.finalize(self, work.send_all_away).atexit = False

    def pace(self, first: int, last: int) -> Pace:
        """Of a piece of the program from one step to another that begins now. After a pause it is another one."""
        return self._paces[first, last, perf_counter() - self._ended > _PAUSE]

    @property
    def lost(self) -> float:
        """Seconds that other programs have had the processors of helpers, of all runs."""
        return int(self._long[TeamLayout.LOST // 8]) * 1e-9

    def gather(self, together: bool = True) -> tuple[int, ...]:
        """Begin a run, with as many helpers as are free, or with none; the numbers of those that take part."""
        # Those of another process after a fork.
        free, taken = self._free, self._taken = _crew.free, []
        try:
            # The first for the processor of the thread that runs the program.
            taken.append(free.pop())
            while together and len(taken) < self._most:
                taken.append(free.pop())
                self._call(taken[-1], len(taken) - 1)
        except IndexError:
            # There are no more.
            pass
        if (count := max(1, len(taken))) != self._count:
            self._count = self._long[TeamLayout.THREADS // 8] = count
        return tuple(helper.number for helper in taken[1:]) if count > 1 else ()

    def rest(self) -> _Helper | None:
        """Begin a run without helpers, in fewer lines than :meth:`gather`; who stands for its processor."""
        if self._count != 1:
            self._count = self._long[TeamLayout.THREADS // 8] = 1
        try:
            return self._free.pop()
        except IndexError:
            return None

    def rested(self, own: _Helper | None) -> None:
        """End it."""
        self._ended = perf_counter()
        if own is not None:
            self._free.append(own)

    def _call(self, helper: _Helper, place: int) -> None:
        work, member = self._work, TeamLayout.MEMBERS + helper.number * TeamLayout.MEMBER_BYTES
        self._long[(member + TeamLayout.PLACE) // 8] = place
        self._long[(TeamLayout.MEMBERS + place * TeamLayout.MEMBER_BYTES + TeamLayout.HELPER) // 8] = helper.address
        before = helper.called() if helper.called is not None else None
        if before is work:
            # It is here or about to come.
            return
        if before is not None:
            before.recall(before.address, helper.number)
        if helper.number not in work.scratch:
            scratch = work.scratch[helper.number] = _pages(self._scratch_bytes)
            self._long[member // 8] = scratch.ctypes.data
        self._long[(member + TeamLayout.SELF) // 8] = helper.address
        self._short[(member + TeamLayout.AWAY) // 4] = 0
        helper.call(work)

    def dismiss(self) -> None:
        """End a run. Helpers stay, unless another team calls them."""
        self._ended = perf_counter()
        taken, self._taken = self._taken, []
        # The next run takes them in the same order.
        self._free.extend(reversed(taken))


def scratch_bytes(native: NativeObject) -> int:
    """Bytes of scratch memory that each thread of a program needs."""
    return ctypes.c_int64.from_address(native.address(SCRATCH)).value
