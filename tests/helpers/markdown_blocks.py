"""The fenced blocks of a Markdown document, for tests that follow what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        info: what stands behind the opening fence, such as ``sh`` or ``python``.
        text: the lines between the fences.
        line: the number of its first line in the document, from 1.
    """

    info: str
    text: str
    line: int


def fenced_blocks(document: Path) -> list[Block]:
    """All fenced blocks of ``document``, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(match["info"].strip(), match["text"], text.count("\n", 0, match.start("text")) + 1)
        for match in _FENCE.finditer(text)
    ]
