"""``python -m hostile.sweep [GENERATOR …]``: runs many cases of generators and prints a table of what became of them.

The environment variable ``TILEWRIGHT_HOSTILE_SEED`` is the first seed (0), ``TILEWRIGHT_HOSTILE_CASES`` the number of
cases of each generator (that of its sweep).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

from shared_kernels import share_kernels

from .generator import Generator, load_generators
from .runner import Report, run_forked

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
HEAD = "| generator | cases | ran | refused | failed | slowest, s |\n|---|---:|---:|---:|---:|---:|"


def seeds(generator: Generator, cases: int | None = None) -> range:
    """What to run, unless the environment says otherwise: so many cases from seed 0 on."""
    first = int(os.environ.get("TILEWRIGHT_HOSTILE_SEED", "0"))
    count = int(os.environ.get("TILEWRIGHT_HOSTILE_CASES", str(cases or generator.cases)))
    return range(first, first + count)


def row(report: Report) -> str:
    """A line of the table of ``docs/security.md``."""
    numbers = (report.cases, report.ran, report.refused.total(), len(report.failures))
    return f"| {report.generator} | {' | '.join(f'{n:,}' for n in numbers)} | {report.slowest:.1f} |"


def document(rows: dict[str, str]) -> None:
    """Put these rows into the table of ``docs/security.md``, in the place of those that it has of these generators."""
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    old = {line.split(" ")[1]: line for line in text[begin:end].splitlines() if line.startswith("| ")}
    del old["generator"]
    table = "\n".join([HEAD, *(row for _, row in sorted({**old, **rows}.items()))])
    DOCUMENT.write_text(f"{text[:begin]}\n{table}\n{text[end:]}", encoding="utf-8")


def main() -> int:
    # That kernels are generated again is what most cases are about.
    warnings.simplefilter("ignore")
    share_kernels()
    generators = load_generators()
    parser = argparse.ArgumentParser(prog="hostile.sweep", description=__doc__)
    parser.add_argument("generator", nargs="*", help=f"some of {', '.join(generators)}; by default all")
    parser.add_argument("--document", action="store_true", help="write the figures into docs/security.md, too")
    arguments = parser.parse_args()
    names = arguments.generator or list(generators)
    print(HEAD, flush=True)
    failed = False
    for name in names:
        generator = generators[name]
        begin = time.monotonic()
        generator.prepare()
        report = run_forked(generator, seeds(generator))
        print(row(report), flush=True)
        if arguments.document:
            document({name: row(report)})
        refusals = ", ".join(f"{error} {count}" for error, count in report.refused.most_common())
        seconds = time.monotonic() - begin
        print(f"{name}: {seconds:.0f} s; {refusals}; slowest seed {report.slowest_seed}", file=sys.stderr)
        if report.failures:
            failed = True
            print(f"\n{report.text()}\n", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
