"""The memory of virtual cards, which ``ReadData`` and ``WriteData`` read and write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tilewright import limits

from .errors import AcceleratorError
from .facts import Facts

_PAGE = 2**16


class CardMemory:
    """The memories of the cards of an object, each of as many bytes as the machine has DRAM, all 0 at first.

    Only pages that were written take memory of this host, bounded by ``tilewright.limits.CARD_MEMORY``. Networks that
    ``Init`` loads lie elsewhere: what is written here changes nothing of them.

    Args:
        facts: of the object, whose machine and number of cards they follow.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._pages: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def write(self, address: object, data: object, card: object) -> None:
        """``WriteData``: the bytes of an array, as they are.

        Raises:
            AcceleratorError: no card of this number, beyond its memory, or more than this host keeps.
        """
        if not isinstance(data, np.ndarray) or data.dtype.hasobject:
            _refuse("WriteData", "this is no array of numbers", "an array", type(data).__name__)
        pieces = list(self._pieces(address, data.nbytes, card, "WriteData"))
        kept = (len(self._pages) + sum(page not in self._pages for page, _, _ in pieces)) * _PAGE
        if kept > limits.CARD_MEMORY:
            expected = f"at most {limits.CARD_MEMORY} bytes"
            _refuse("WriteData", "more is written than this host keeps", expected, kept)
        content = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        for page, there, here in pieces:
            self._pages.setdefault(page, np.zeros(_PAGE, np.uint8))[there] = content[here]

    def read(self, address: object, data: object, card: object) -> None:
        """``ReadData``: fill an array with the bytes from an address on.

        Raises:
            AcceleratorError: no card of this number, or beyond its memory.
        """
        if not isinstance(data, np.ndarray) or data.dtype.hasobject or not data.flags.writeable:
            _refuse("ReadData", "this cannot be read into", "an array of numbers", type(data).__name__)
        pieces = list(self._pieces(address, data.nbytes, card, "ReadData"))
        found = np.zeros(data.nbytes, np.uint8)
        for page, there, here in pieces:
            if page in self._pages:
                found[here] = self._pages[page][there]
        data[...] = found.view(data.dtype).reshape(data.shape)

    def _pieces(
        self, address: object, size: int, card: object, stage: str
    ) -> Iterator[tuple[tuple[int, int], slice, slice]]:
        """The pages that bytes lie in: card and number, which bytes of the page they are, and which of the bytes."""
        cards, machine = self._facts.batch.cards, self._facts.machine
        if isinstance(card, bool) or not isinstance(card, (int, np.integer)) or not 0 <= card < cards:
            _refuse(stage, "there is no card of this number", f"0 to {cards - 1}", card)
        if isinstance(address, bool) or not isinstance(address, (int, np.integer)):
            _refuse(stage, "this is no address", "a whole number", type(address).__name__)
        # Python counts further than NumPy, whose numbers of 64 bits wrap around.
        start, end = int(address), int(address) + size
        if not 0 <= start <= end <= machine.dram_bytes:
            expected = f"0 to {machine.dram_bytes} ({machine.name})"
            _refuse(stage, "this lies outside the memory of a card", expected, f"{size} bytes from {start}")
        for number in range(start // _PAGE, -(-end // _PAGE)):
            low, high = max(start, number * _PAGE), min(end, (number + 1) * _PAGE)
            there = slice(low - number * _PAGE, high - number * _PAGE)
            yield (int(card), number), there, slice(low - start, high - start)


def _refuse(stage: str, message: str, expected: object, found: object) -> NoReturn:
    raise AcceleratorError(message, stage=stage, expected=expected, found=found)
