"""Sections of a Markdown document that programs write, between marks that programs find again."""

from __future__ import annotations

from pathlib import Path


def replace_section(document: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks of section ``name`` of ``document``, at its end if it has none yet."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    whole = document.read_text(encoding="utf-8") if document.exists() else ""
    before, mark, rest = whole.partition(begin)
    if not mark:
        before, rest = (f"{whole}\n" if whole else ""), end
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
