"""The fenced blocks of a Markdown document, for tests that follow what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n)?^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        info: what stands behind the opening fence, such as ``sh`` or ``python``; blocks without are forms to fill in.
        text: the lines between the fences.
        line: the number of its first line in the document, from 1.
        reason: why it is not run, from a comment ``<!-- not run: … -->`` on the line above.
    """

    info: str
    text: str
    line: int
    reason: str | None = None


def fenced_blocks(document: Path) -> list[Block]:
    """All fenced blocks of ``document``, in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(match["info"].strip(), match["text"], text.count("\n", 0, match.start("text")) + 1, match["reason"])
        for match in _FENCE.finditer(text)
    ]


def blocks_to_run(document: Path) -> list[Block]:
    """Those in a language, but for those that say why they are not run."""
    return [block for block in fenced_blocks(document) if block.info and block.reason is None]
