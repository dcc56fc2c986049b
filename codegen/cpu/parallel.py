"""Several threads in one step: the part of the thread pool that is native code, which every program carries.

A *team* is the caller of a program and the helpers that the runtime sends it (`runtime/execution/team.py`). What they
share is a block of memory, :class:`TeamLayout`. A step that is long enough is a *region*: its work items are cut into
chunks, as many for each thread, which takes its own first and then those that others have left. The same thread has the
same part of each step, so that what it reads is mostly what it wrote, in its own caches. A region ends when its chunks
are done, whether helpers came or not, so that nobody waits for a thread that has no processor. That is safe because a
chunk is taken by one subtraction from a number that carries the count: who comes late gets nothing and reads no other
field, or gets a chunk of the region that has begun meanwhile, which then cannot end before it. A helper counts its
chunks and tells when it finds no more: what two threads write in turn costs each time what a cache miss does, and more
where their processors share no cache.

Whoever waits spins, then sleeps (:mod:`.waiting`). Sleepers are woken only for regions that take longer than waking
does, some ten microseconds. Helpers give way between chunks: one that lost its processor within a chunk would keep all
others waiting.
"""

from collections.abc import Mapping

from ...runtime.native.team_layout import FUTEX_WAIT, FUTEX_WAKE, HELP, RECALL, SCRATCH, TeamLayout
from .kernel import Kernel
from .llvm.module import spelled_out
from .llvm.target import TargetDescription
from .waiting import waiting_text

POOL = (HELP, RECALL, SCRATCH)
"""What a program exports that has something to share out."""

_CHUNKS = 4
"""Chunks for each thread: fewer leave threads idle at the end, more cost."""

_APART = 8
"""Chunks that may make again what others have made, each for many work items: of fewer groups of items that share it,
each thread computes one chunk."""

_TURN = 1_000_000
"""Nanoseconds that a helper computes before it gives way to other programs: a little less than a scheduler lets it, so
that it is rarely stopped while it has a chunk for which the others must wait."""

_ALONE, _ASLEEP = 1_500, 15_000
"""Nanoseconds of work below which a step is not shared out, and below which nobody is woken for it."""

_TEAM, _LEFT = 40_000, 25_000
"""Nanoseconds of shared steps below which a program has no team, which takes Python some microseconds in each run; and
from which on, with what follows in the run, threads are woken for shorter steps."""


def is_shared(kernel: Kernel, time: int) -> bool:
    """Whether a step of this kernel is worth several threads."""
    return kernel.units > 1 and time >= _ALONE


def shared_steps(times: Mapping[int, int], *, has_team: bool = False) -> dict[int, bool]:
    """Of steps that are worth several threads those that are shared out in a program, and whether sleeping threads are
    woken for each. ``has_team``: what its loops or branches share is reason enough for one."""
    left, found = sum(times.values()), dict[int, bool]()
    if left < _TEAM and not has_team:
        return found
    for step, time in times.items():
        found[step] = time >= _ASLEEP or left >= _LEFT
        left -= time
    return found


def shared_within(times: Mapping[int, int], steps: int) -> frozenset[int]:
    """Likewise of the calls, by number, that a branch makes, or a loop in each of so many steps.

    There sleeping threads are always woken: in a loop they stay awake from one step to the next."""
    return frozenset(times) if sum(times.values()) * steps >= _TEAM else frozenset()


def chunks(kernel: Kernel) -> int:
    """The most chunks for each thread."""
    return _CHUNKS if kernel.common == 1 or kernel.units >= _APART * kernel.common else 1


_POOL = """
define internal void @tell(ptr %team, i32 %mine) noinline nounwind {{
entry:
  br i1 [sgt i32 %mine, 0], label %add, label %end
add:
  atomicrmw add ptr [%team + {DONE}], i32 %mine seq_cst
  %waiting = load atomic i32, ptr [%team + {WAITING}] seq_cst, align 4
  br i1 [ne i32 %waiting, 0], label %wake, label %end
wake:
  call i64 @futex(ptr %team, ptr [%team + {DONE}], i32 {WAKE}, i32 1)
  br label %end
end:
  ret void
}}

define internal i32 @chunks(ptr %team, ptr %scratch, i64 %place, ptr %since) noinline nounwind {{
entry:
  %is_caller = icmp eq ptr %since, null
  %threads = load atomic i64, ptr [%team + {THREADS}] monotonic, align 8
  %inside = icmp slt i64 %place, %threads
  %own = select i1 %inside, i64 %place, i64 0
  br label %visit
visit:
  %seen = phi i64 [ 0, %entry ], [ %more, %further ]
  %part = phi i64 [ %own, %entry ], [ %following, %further ]
  %kept = phi i32 [ 0, %entry ], [ %held, %further ]
  %member = getelementptr [{MEMBER_BYTES} x i8], ptr [%team + {MEMBERS}], i64 %part
  br i1 [eq i64 %seen, 0], label %take, label %next
next:
  %so_far = phi i32 [ %kept, %visit ], [ %now, %finish ], [ %now, %look ], [ 0, %yield ]
  %now_open = load atomic i64, ptr [%member + {OPEN}] monotonic, align 8
  br i1 [sgt i64 %now_open, 0], label %take, label %other
take:
  %mine = phi i32 [ %kept, %visit ], [ %so_far, %next ]
  %left = atomicrmw sub ptr [%member + {OPEN}], i64 1 acquire
  br i1 [sgt i64 %left, 0], label %run, label %other
run:
  %each = load i64, ptr [%team + {EACH}], align 8
  %count = load i64, ptr [%team + {COUNT}], align 8
  %units = load i64, ptr [%team + {UNITS}], align 8
  %task = load ptr, ptr [%team + {TASK}], align 8
  %context = load ptr, ptr [%team + {CONTEXT}], align 8
  %part_end = add i64 %part, 1
  %chunks_before = mul i64 %part_end, %each
  %chunk = sub i64 %chunks_before, %left
  %chunk_end = add i64 %chunk, 1
  %scaled = mul i64 %units, %chunk
  %begin = udiv i64 %scaled, %count
  %scaled_end = mul i64 %units, %chunk_end
  %end_unit = udiv i64 %scaled_end, %count
  %now = add i32 %mine, 1
  br i1 [eq i64 %begin, %end_unit], label %finish, label %compute
compute:
  %status = call i32 %task(ptr %context, ptr %scratch, i64 %begin, i64 %end_unit)
  br i1 [ne i32 %status, 0], label %refuse, label %finish
refuse:
  store atomic i32 %status, ptr [%team + {STATUS}] monotonic, align 4
  br label %finish
finish:
  br i1 %is_caller, label %next, label %look
look:
  %time = call i64 @clock(ptr %team)
  %start = load i64, ptr %since, align 8
  %used = sub i64 %time, %start
  br i1 [sgt i64 %used, {TURN}], label %yield, label %next
yield:
  call void @tell(ptr %team, i32 %now)
  call void @give_way(ptr %team, ptr %since, i64 %time)
  br label %next
other:
  %had = phi i32 [ %so_far, %next ], [ %mine, %take ]
  br i1 %is_caller, label %further, label %tell
tell:
  call void @tell(ptr %team, i32 %had)
  br label %further
further:
  %held = phi i32 [ %had, %other ], [ 0, %tell ]
  %more = add i64 %seen, 1
  %after = add i64 %part, 1
  %wraps = icmp sge i64 %after, %threads
  %following = select i1 %wraps, i64 0, i64 %after
  br i1 [slt i64 %more, %threads], label %visit, label %end
end:
  ret i32 %held
}}

define i32 @region(ptr %team, ptr %task, ptr %context, ptr %scratch, i64 %units, i64 %chunks, i1 %wakes)
    noinline nounwind {{
entry:
  br i1 [eq ptr %team, null], label %alone, label %ask
ask:
  %threads = load i64, ptr [%team + {THREADS}], align 8
  br i1 [slt i64 %threads, 2], label %alone, label %share
alone:
  %result = call i32 %task(ptr %context, ptr %scratch, i64 0, i64 %units)
  ret i32 %result
share:
  %rest = sub i64 %threads, 1
  %padded = add i64 %units, %rest
  %at_most = udiv i64 %padded, %threads
  %few = icmp ult i64 %at_most, %chunks
  %each = select i1 %few, i64 %at_most, i64 %chunks
  %count = mul i64 %each, %threads
  %all = trunc i64 %count to i32
  store i64 %count, ptr [%team + {COUNT}], align 8
  store i64 %units, ptr [%team + {UNITS}], align 8
  store i64 %each, ptr [%team + {EACH}], align 8
  store ptr %task, ptr [%team + {TASK}], align 8
  store ptr %context, ptr [%team + {CONTEXT}], align 8
  %here = call i32 @processor(ptr %team)
  store atomic i32 %here, ptr [%team + {PROCESSOR}] monotonic, align 4
  %done = getelementptr i8, ptr %team, i64 {DONE}
  %before = load atomic i32, ptr %done monotonic, align 4
  br label %publish
publish:
  %part = phi i64 [ 0, %share ], [ %next_part, %publish ]
  %member = getelementptr [{MEMBER_BYTES} x i8], ptr [%team + {MEMBERS}], i64 %part
  store atomic i64 %each, ptr [%member + {OPEN}] release, align 8
  %next_part = add i64 %part, 1
  br i1 [slt i64 %next_part, %threads], label %publish, label %announce
announce:
  atomicrmw add ptr [%team + {GENERATION}], i32 1 seq_cst
  %sleepers = load atomic i32, ptr [%team + {SLEEPERS}] seq_cst, align 4
  %some_sleep = icmp ne i32 %sleepers, 0
  %is_worth_it = and i1 %some_sleep, %wakes
  br i1 %is_worth_it, label %wake, label %work
wake:
  call void @wake(ptr %team, i32 %here)
  br label %work
work:
  %mine = call i32 @chunks(ptr %team, ptr %scratch, i64 0, ptr null)
  %others = sub i32 %all, %mine
  %due = add i32 %before, %others
  br label %look
look:
  %finished = load atomic i32, ptr %done acquire, align 4
  br i1 [eq i32 %finished, %due], label %end, label %wait
wait:
  %changed = call i1 @changes(ptr %team, ptr %done, i32 %finished)
  br i1 %changed, label %look, label %sleep
sleep:
  store atomic i32 1, ptr [%team + {WAITING}] seq_cst, align 4
  call i64 @futex(ptr %team, ptr %done, i32 {WAIT}, i32 %finished)
  store atomic i32 0, ptr [%team + {WAITING}] seq_cst, align 4
  br label %look
end:
  %status = load atomic i32, ptr [%team + {STATUS}] monotonic, align 4
  br i1 [ne i32 %status, 0], label %refuse, label %return
refuse:
  store atomic i32 0, ptr [%team + {STATUS}] monotonic, align 4
  br label %return
return:
  ret i32 %status
}}

define void @{HELP}(ptr %team, i64 %helper) nounwind {{
entry:
  %generation = getelementptr i8, ptr %team, i64 {GENERATION}
  %mine = getelementptr [{MEMBER_BYTES} x i8], ptr [%team + {MEMBERS}], i64 %helper
  %scratch = load ptr, ptr %mine, align 8
  %since = getelementptr i8, ptr %mine, i64 {SINCE}
  %arrival = call i64 @clock(ptr %team)
  store i64 %arrival, ptr %since, align 8
  store atomic i32 1, ptr [%mine + {HERE}] seq_cst, align 4
  br label %next
next:
  %seen = load atomic i32, ptr %generation acquire, align 4
  %place = load atomic i64, ptr [%mine + {PLACE}] monotonic, align 8
  call i32 @chunks(ptr %team, ptr %scratch, i64 %place, ptr %since)
  br label %look
look:
  %away = load atomic i32, ptr [%mine + {AWAY}] seq_cst, align 4
  br i1 [ne i32 %away, 0], label %leave, label %spin
spin:
  %changed = call i1 @changes(ptr %team, ptr %generation, i32 %seen)
  br i1 %changed, label %next, label %tire
tire:
  %away_now = load atomic i32, ptr [%mine + {AWAY}] seq_cst, align 4
  br i1 [ne i32 %away_now, 0], label %leave, label %sleep
sleep:
  atomicrmw add ptr [%team + {SLEEPERS}], i32 1 seq_cst
  %slept = call i64 @futex(ptr %team, ptr %generation, i32 {WAIT}, i32 %seen)
  atomicrmw sub ptr [%team + {SLEEPERS}], i32 1 seq_cst
  call void @part_from_caller(ptr %team, ptr %since)
  %awake = call i64 @clock(ptr %team)
  store i64 %awake, ptr %since, align 8
  br label %next
leave:
  store atomic i32 0, ptr [%mine + {HERE}] seq_cst, align 4
  ret void
}}

define void @{RECALL}(ptr %team, i64 %helper) nounwind {{
  %theirs = getelementptr [{MEMBER_BYTES} x i8], ptr [%team + {MEMBERS}], i64 %helper
  store atomic i32 1, ptr [%theirs + {AWAY}] seq_cst, align 4
  atomicrmw add ptr [%team + {GENERATION}], i32 1 seq_cst
  call i64 @futex(ptr %team, ptr [%team + {GENERATION}], i32 {WAKE}, i32 2147483647)
  ret void
}}

@{SCRATCH} = constant i64 {scratch_bytes}, align 8
"""


REGION = "region"
"""``i32 region(ptr team, ptr task, ptr context, ptr scratch, i64 units, i64 chunks, i1 wakes)``: have a team, if there
is one, compute the work items of a task, ``i32 task(ptr context, ptr scratch, i64 begin, i64 end)``."""


def pool_text(target: TargetDescription, scratch_bytes: int) -> str:
    """The functions :data:`REGION`, :data:`HELP` and :data:`RECALL`, and the constant :data:`SCRATCH`."""
    names = {"HELP": HELP, "RECALL": RECALL, "SCRATCH": SCRATCH, "scratch_bytes": scratch_bytes}
    numbers = {"TURN": _TURN, "WAIT": FUTEX_WAIT, "WAKE": FUTEX_WAKE}
    return spelled_out(waiting_text(target) + _POOL.format(**TeamLayout.fields(), **numbers, **names))
