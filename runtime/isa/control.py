"""Instructions that every queue understands."""

from __future__ import annotations

from dataclasses import dataclass

from .encoding import Instruction, Queue, instruction


@instruction("BAR", 32, *Queue)
@dataclass(frozen=True, kw_only=True)
class Barrier(Instruction):
    """Do nothing but wait and signal; it gives the next instruction of the queue two more waits."""


@instruction("END", 33, *Queue)
@dataclass(frozen=True, kw_only=True)
class End(Instruction):
    """The last instruction of a queue. The program is over when every queue has reached its end."""
