"""What a program that several threads run and the runtime that sends them must agree on."""

HELP = "tilewright_join"
"""``void tilewright_join(ptr team, i64 helper)``: take part in what a team does until the team is left by
:data:`RECALL`. Named anew whenever :class:`TeamLayout` changes: programs of before then run on one thread. Fields that
may be 0 change nothing."""

RECALL = "tilewright_recall"
"""``void tilewright_recall(ptr team, i64 helper)``: have a helper return as soon as it has done what it is about to do.
"""

SCRATCH = "tilewright_scratch_bytes"
"""An ``i64`` with the bytes of scratch memory that each thread needs."""

FUTEX_WAIT, FUTEX_WAKE = 128, 129
"""Operations of the system call ``futex`` on words that no other process has, see futex(2)."""


class TeamLayout:
    """Bytes of each field in the memory of a team. What a helper needs to know of a region lies in one cache line;
    fields that different threads write lie in different ones.

    Attributes:
        generation: i32, counts regions; helpers wait for it to change.
        threads: i64, how many threads there are, the caller among them.
        count, each, units: i64, chunks of the region, how many of them are whose, and its work items.
        task, context: what a chunk calls, and its first argument.
        processor: i32, where the caller was when the region began.
        done: i32, chunks that helpers have told, of all regions; the caller waits for it.
        status: i32, what a kernel returned that refused its data, else 0.
        sleepers: i32, helpers that sleep.
        waiting: i32, 1 while the caller sleeps.
        lost: i64, nanoseconds that others had the processors of helpers which gave way.
        syscall, clock, getcpu: the C library's functions ``syscall``, ``clock_gettime`` and ``sched_getcpu``.
        futex, yield, get_affinity, set_affinity: numbers of system calls.
        members: for each thread, the caller at 0, i64 ``open``: its chunks that nobody has taken yet, or less than 1;
            a pointer to its ``helper``, or null;
            for each helper of the process, by its number: a pointer to its scratch memory; i64 ``place``, which of the
            threads it is; i32 ``here``, 1 while it is; i32 ``away``, 1 when it is called away; i64 ``since``, the
            nanosecond when it woke up or gave way last; a pointer to it``self``, or null.
        helpers: elsewhere, one for all teams of a process: i32, the number that the system has for the thread, 0 until
            it starts; i32 ``taken``, by whom its set of processors is being changed: 1 by itself, 2 by who wakes it, 0
            by nobody.
    """

    GENERATION, THREADS, COUNT, EACH, UNITS, TASK, CONTEXT, PROCESSOR = 0, 8, 16, 24, 32, 40, 48, 56
    DONE, STATUS, SLEEPERS, WAITING, LOST = 64, 68, 128, 132, 136
    SYSCALL, FUTEX, YIELD, CLOCK, GETCPU, GET_AFFINITY, SET_AFFINITY = 192, 200, 208, 216, 224, 232, 240
    MEMBERS, MEMBER_BYTES, PLACE, HERE, AWAY, SINCE, SELF, OPEN, HELPER = 256, 128, 8, 16, 20, 24, 32, 64, 80
    TAKEN = 4

    @classmethod
    def fields(cls) -> dict[str, int]:
        """All of them by name."""
        return {name: value for name, value in vars(cls).items() if name.isupper()}
