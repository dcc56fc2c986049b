"""``python -m tilewright.runtime.isa`` prints the instruction set document."""

from .document import document

print(document(), end="")
