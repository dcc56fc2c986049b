"""``python -m hostile.atheris_targets TARGET [OPTION …]``: fuzzing that follows coverage, where atheris is installed.

Options are those of libFuzzer, such as ``-max_total_time=600``. A crash is an exception that is no TilewrightError; the
input that caused it is kept as a file by libFuzzer, and given back as the last argument runs again.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Target = Callable[[bytes], object]


def _targets() -> dict[str, Target]:
    """What is fuzzed, imported here for atheris to instrument it."""
    from tilewright.ir.text.parser import parse_module
    from tilewright.ir.verify import verify
    from tilewright.runtime.artifact.artifact import Artifact
    from tilewright.runtime.isa.program import Program
    from tilewright.runtime.native import elf
    from tilewright.runtime.simulator.verifier import verify as verify_program

    def program(content: bytes) -> None:
        parsed = Program.from_bytes(content)
        verify_program(parsed, parsed.machine)

    return {
        "Container": Artifact.open,
        "parse_module": lambda content: verify(parse_module(content.decode(errors="replace"))),
        "Program.from_bytes": program,
        "elf.parse": elf.parse,
    }


def _seeds(name: str) -> list[bytes]:
    """Sound inputs to begin with."""
    from . import corpus
    from .generators.artifacts import pack
    from .generators.elf import objects

    if name == "elf.parse":
        return objects()
    if name == "Program.from_bytes":
        return [program.to_bytes() for program, _ in corpus.device_programs()]
    if name == "Container":
        return [pack(package.manifest().to_json(), package.sections) for package in corpus.packages()]
    return [
        bytes(part.data)
        for package in corpus.packages()
        for part in package.sections
        if part.name.startswith("module.") and not part.name.endswith(".blobs")
    ]


def main() -> int:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed; the extra 'fuzz' has it", file=sys.stderr)
        return 1
    with atheris.instrument_imports(include=["tilewright"]):
        targets = _targets()
    from tilewright.errors import TilewrightError

    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        print(f"{__doc__}\nTargets: {', '.join(targets)}", file=sys.stderr)
        return 2
    name, *options = sys.argv[1:]
    target = targets[name]
    if not any(Path(option).is_file() for option in options):
        corpus = Path(tempfile.mkdtemp(prefix=f"tilewright-{name}-"))
        for index, seed in enumerate(_seeds(name)):
            (corpus / f"seed{index}").write_bytes(seed)
        options.append(str(corpus))

    def run(content: bytes) -> None:
        try:
            target(content)
        except TilewrightError as error:
            str(error).encode()

    atheris.Setup([sys.argv[0], "-rss_limit_mb=2048", "-timeout=20", *options], run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
