"""``python -m hostile.reproduce GENERATOR SEED``: shows one case and runs it, in a process of its own."""

from __future__ import annotations

import argparse
import sys

from .generator import load_generators
from .runner import run_forked


def main() -> int:
    generators = load_generators()
    parser = argparse.ArgumentParser(prog="hostile.reproduce", description=__doc__)
    parser.add_argument("generator", choices=generators)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    generator = generators[arguments.generator]
    generator.prepare()
    try:
        print(generator.case(arguments.seed).description[:20_000])
    except Exception as error:
        print(f"the case cannot be shown: {error!r}")
    report = run_forked(generator, [arguments.seed])
    print(f"\n{report.text()}" if report.failures else "ran" if report.ran else f"refused: {dict(report.refused)}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
