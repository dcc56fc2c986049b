"""What a program that several threads run and the runtime that sends them must agree on."""

from __future__ import annotations

HELP = "tilewright_help"
"""``void tilewright_help(ptr team, i64 helper)``: take part in what a team does, until it does nothing for a while or
another team has called the helper away."""

SCRATCH = "tilewright_scratch_bytes"
"""An ``i64`` with the bytes of scratch memory that each thread needs."""

FUTEX_WAIT, FUTEX_WAKE = 128, 129
"""Operations of the system call ``futex`` on words that no other process has, see futex(2)."""


class TeamLayout:
    """Bytes of each field in the memory of a team; those that different threads write lie in different cache lines.

    Attributes:
        generation: i32, counts regions; helpers wait for it to change.
        open: i64, chunks that nobody has taken yet, or less than 1.
        done: i32, chunks that are done; the caller waits for it.
        sleepers: i32, helpers that sleep.
        waiting: i32, 1 while the caller sleeps.
        running: i32, 1 while a program runs.
        status: i32, what a kernel returned that refused its data, else 0.
        threads: i64, how many threads there are, the caller among them.
        count, units, step: i64, chunks of the region, its work items, and how many of them a chunk has.
        task, arguments: what a chunk calls, and its first argument.
        syscall, futex: the C library's function, and the number of the system call.
        patience: two i64, seconds and nanoseconds that helpers sleep before they ask whether the program still runs.
        helpers: for each helper, from 0 on: a pointer to its scratch memory; i32, 1 while it is here; i32, 1 when it
            is called away.
    """

    GENERATION, OPEN, DONE, SLEEPERS = 0, 64, 128, 192
    WAITING, RUNNING, STATUS, THREADS = 196, 200, 204, 208
    COUNT, UNITS, STEP, TASK, ARGUMENTS, SYSCALL, FUTEX, PATIENCE = 256, 264, 272, 280, 288, 296, 304, 312
    HELPERS, HELPER_BYTES, HERE, AWAY = 384, 64, 8, 12
