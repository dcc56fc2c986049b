"""What parts that do not import each other share: blocks of the layout of tensors and of the accelerator's cards, and
what ``typing`` has from Python 3.11 on and ``functools`` from 3.12 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

CHANNEL_BLOCK = 16
"""Channels in a block of a feature map or of weights, on the CPU and on the accelerator: one 512-bit vector of float32,
16 bytes of a scratchpad. Fixed by the layouts of the IR and by the instruction set, not by a machine file."""

CARD_LIMIT = 16
"""Cards that messages from one to another can name."""

if TYPE_CHECKING:
    from functools import cached_property as cached_property  # noqa: TID251

    from typing_extensions import dataclass_transform as dataclass_transform
else:

    def dataclass_transform(**options):
        """Tells type checkers that subclasses are dataclasses; nothing else does."""
        return lambda cls: cls

    class cached_property:
        """As in `functools` from 3.12 on: until then it has a lock that forked processes may find locked for ever."""

        def __init__(self, compute):
            self._compute, self.__doc__ = compute, compute.__doc__

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self._compute.__name__] = self._compute(instance)
            return value
