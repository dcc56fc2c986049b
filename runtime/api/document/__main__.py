"""``python -m tilewright.runtime.api.document PAGE`` prints a page of ``docs/api``; without PAGE it lists the pages."""

import sys

from .pages import PAGES, page_text

if len(sys.argv) == 1:
    print(*PAGES, sep="\n")
else:
    sys.stdout.write(page_text(sys.argv[1]))
