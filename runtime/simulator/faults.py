"""The one form of message about an instruction that breaks a rule."""

from __future__ import annotations

from tilewright.errors import InstructionError

from ..isa.encoding import Instruction, Stream


def fault(stream: Stream, index: int, item: Instruction, field: str, found: object, rule: str) -> InstructionError:
    """An error that names stream, instruction and field, what was found and the rule."""
    return InstructionError(
        f"stream {stream.name}, instruction {index} ({item.MNEMONIC}): field '{field}' breaks a rule",
        expected=rule,
        found=found,
    )
