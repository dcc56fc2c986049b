"""``python tools/make_documents.py [NAME …]`` makes the documents in ``docs`` that come from the code."""

from __future__ import annotations

import argparse
from pathlib import Path

from documents import DOCUMENTS

FOLDER = Path(__file__).parents[1] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the documents in docs/ that come from the code.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(DOCUMENTS)}; all by default")
    names = parser.parse_args().names or [*DOCUMENTS]
    for name in names:
        if name not in DOCUMENTS:
            parser.error(f"no document {name!r}: it is one of {', '.join(DOCUMENTS)}")
        path = FOLDER / (name if "." in name else f"{name}.md")
        text = DOCUMENTS[name]()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(FOLDER.parent))


if __name__ == "__main__":
    main()
