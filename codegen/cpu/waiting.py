"""How threads of a team wait: by spinning for a millisecond, then asleep in the kernel (``futex``); and where they run.

Helpers give way (``sched_yield``) now and then, and note how long others had their processor meanwhile. The scheduler
may wake them on the processor of the caller, although both compute at once: whoever wakes them keeps them off it, and
one that finds itself there moves to another.
"""

from ...runtime.native.team_layout import FUTEX_WAKE, TeamLayout
from .llvm.target import TargetDescription

_LOOKS, _SPIN = 200, 1_000_000
"""Looks between two at the clock, and nanoseconds before sleeping: longer than what one thread does alone between two
steps. Where processors are virtual, one that has gone to sleep comes late, and with caches of others.
"""

_MASK_BYTES = 1024
"""Of the set of processors that a thread may use; it stays where it is on systems with more than 8192 of them."""

_NOTHING = 100_000
"""Nanoseconds that giving way may take where nobody waits for the processor."""

_WAITING = """
define internal i64 @futex(ptr %team, ptr %word, i32 %operation, i32 %value) noinline nounwind {{
  %syscall = load ptr, ptr [%team + {SYSCALL}], align 8
  %number = load i64, ptr [%team + {FUTEX}], align 8
  %result = call i64 (i64, ...) %syscall(i64 %number, ptr %word, i32 %operation, i32 %value, ptr null)
  ret i64 %result
}}

define internal i64 @clock(ptr %team) noinline nounwind {{
  %time = alloca [2 x i64], align 8
  %gettime = load ptr, ptr [%team + {CLOCK}], align 8
  call i32 %gettime(i32 1, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest = load i64, ptr [%time + 8], align 8
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}}

define internal i1 @changes(ptr %team, ptr %word, i32 %old) noinline nounwind {{
entry:
  br label %look
look:
  %looks = phi i32 [ 0, %entry ], [ %more, %again ], [ 0, %on ]
  %since = phi i64 [ 0, %entry ], [ %since, %again ], [ %start, %on ]
  %value = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %value, %old
  br i1 %changed, label %end, label %again
again:
  {PAUSE}
  %more = add i32 %looks, 1
  br i1 [ult i32 %more, {LOOKS}], label %look, label %on
on:
  %now = call i64 @clock(ptr %team)
  %is_first = icmp eq i64 %since, 0
  %start = select i1 %is_first, i64 %now, i64 %since
  %spent = sub i64 %now, %start
  br i1 [sgt i64 %spent, {SPIN}], label %end, label %look
end:
  ret i1 %changed
}}

define internal i32 @processor(ptr %team) noinline nounwind {{
  %getcpu = load ptr, ptr [%team + {GETCPU}], align 8
  %processor = call i32 %getcpu()
  ret i32 %processor
}}

define internal i1 @allows(ptr %team, i64 %thread, i32 %processor, i1 %may) noinline nounwind {{
entry:
  %mask = alloca [{MASK_BYTES} x i8], align 8
  %syscall = load ptr, ptr [%team + {SYSCALL}], align 8
  %get = load i64, ptr [%team + {GET_AFFINITY}], align 8
  %size = call i64 (i64, ...) %syscall(i64 %get, i64 %thread, i64 {MASK_BYTES}, ptr %mask)
  %byte = lshr i32 %processor, 3
  %offset = zext i32 %byte to i64
  br i1 [sgt i64 %size, %offset], label %read, label %as_before
read:
  %place = getelementptr i8, ptr %mask, i64 %offset
  %old = load i8, ptr %place, align 1
  %within = and i32 %processor, 7
  %bit = shl i32 1, %within
  %one = trunc i32 %bit to i8
  %others = xor i8 %one, -1
  %with = or i8 %old, %one
  %without = and i8 %old, %others
  %new = select i1 %may, i8 %with, i8 %without
  br i1 [eq i8 %old, %new], label %as_before, label %change
change:
  store i8 %new, ptr %place, align 1
  %set = load i64, ptr [%team + {SET_AFFINITY}], align 8
  call i64 (i64, ...) %syscall(i64 %set, i64 %thread, i64 %size, ptr %mask)
  ret i1 true
as_before:
  ret i1 false
}}

define internal i1 @takes(ptr %helper, i32 %taker) noinline nounwind {{
  %pair = cmpxchg ptr [%helper + {TAKEN}], i32 0, i32 %taker acquire monotonic
  %was_free = extractvalue {{ i32, i1 }} %pair, 1
  ret i1 %was_free
}}

define internal void @releases(ptr %helper) noinline nounwind {{
  store atomic i32 0, ptr [%helper + {TAKEN}] release, align 4
  ret void
}}

define internal void @part_from_caller(ptr %team, ptr %since) noinline nounwind {{
entry:
  %processor = call i32 @processor(ptr %team)
  %callers = load atomic i32, ptr [%team + {PROCESSOR}] monotonic, align 4
  br i1 [eq i32 %processor, %callers], label %ask, label %end
ask:
  %self = load ptr, ptr [%since + {SELF_FROM_SINCE}], align 8
  %is_unknown = icmp eq ptr %self, null
  br i1 %is_unknown, label %move, label %take
take:
  %is_mine = call i1 @takes(ptr %self, i32 1)
  br i1 %is_mine, label %move, label %end
move:
  call i1 @allows(ptr %team, i64 0, i32 %processor, i1 false)
  call i1 @allows(ptr %team, i64 0, i32 %processor, i1 true)
  br i1 %is_unknown, label %end, label %leave
leave:
  call void @releases(ptr %self)
  br label %end
end:
  ret void
}}

define internal void @wake(ptr %team, i32 %processor) noinline nounwind {{
entry:
  %threads = load i64, ptr [%team + {THREADS}], align 8
  br label %next
next:
  %place = phi i64 [ 1, %entry ], [ %following, %further ], [ 1, %wake ]
  %may = phi i1 [ false, %entry ], [ %may, %further ], [ true, %wake ]
  %member = getelementptr [{MEMBER_BYTES} x i8], ptr [%team + {MEMBERS}], i64 %place
  %helper = load ptr, ptr [%member + {HELPER}], align 8
  br i1 [eq ptr %helper, null], label %further, label %known
known:
  %thread = load i32, ptr %helper, align 4
  %number = zext i32 %thread to i64
  br i1 %may, label %kept, label %started
started:
  br i1 [ne i32 %thread, 0], label %take, label %further
take:
  %is_mine = call i1 @takes(ptr %helper, i32 2)
  br i1 %is_mine, label %keep, label %further
keep:
  %changed = call i1 @allows(ptr %team, i64 %number, i32 %processor, i1 false)
  br i1 %changed, label %further, label %leave
kept:
  %taken = load atomic i32, ptr [%helper + {TAKEN}] monotonic, align 4
  br i1 [eq i32 %taken, 2], label %put_back, label %further
put_back:
  call i1 @allows(ptr %team, i64 %number, i32 %processor, i1 true)
  br label %leave
leave:
  call void @releases(ptr %helper)
  br label %further
further:
  %following = add i64 %place, 1
  br i1 [ult i64 %following, %threads], label %next, label %round
round:
  br i1 %may, label %end, label %wake
wake:
  call i64 @futex(ptr %team, ptr [%team + {GENERATION}], i32 {WAKE}, i32 2147483647)
  br label %next
end:
  ret void
}}

define internal void @give_way(ptr %team, ptr %since, i64 %before) noinline nounwind {{
entry:
  %syscall = load ptr, ptr [%team + {SYSCALL}], align 8
  %number = load i64, ptr [%team + {YIELD}], align 8
  call i64 (i64, ...) %syscall(i64 %number)
  %after = call i64 @clock(ptr %team)
  %lost = sub i64 %after, %before
  br i1 [sgt i64 %lost, {NOTHING}], label %tell, label %go_on
tell:
  atomicrmw add ptr [%team + {LOST}], i64 %lost monotonic
  br label %go_on
go_on:
  call void @part_from_caller(ptr %team, ptr %since)
  %new = call i64 @clock(ptr %team)
  store i64 %new, ptr %since, align 8
  ret void
}}
"""

_PAUSES = {
    "x86_64": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}
_COMPILER_BARRIER = 'call void asm sideeffect "", "~{memory}"()'


def waiting_text(target: TargetDescription) -> str:
    """The functions ``futex``, ``clock``, ``changes``, ``processor``, ``allows``, ``takes``, ``releases``,
    ``part_from_caller``, ``wake`` and ``give_way``, for :func:`.llvm.module.spelled_out`."""
    pause, declaration = _PAUSES.get(target.triple.partition("-")[0], (_COMPILER_BARRIER, ""))
    numbers = {"LOOKS": _LOOKS, "SPIN": _SPIN, "MASK_BYTES": _MASK_BYTES, "NOTHING": _NOTHING, "WAKE": FUTEX_WAKE}
    numbers["SELF_FROM_SINCE"] = TeamLayout.SELF - TeamLayout.SINCE
    return declaration + _WAITING.format(**TeamLayout.fields(), **numbers, PAUSE=pause)
