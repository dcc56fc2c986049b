"""Make a model that fails small: the smallest part of it that still fails.

The command after --while is run on ever smaller models. Exit code 0 means: it STILL FAILS, and the smaller model is
kept; any other means that the failure is gone. So name exactly what is wrong: a command that fails for another reason
on half a model leads astray. `tilewright compare MODEL --every-layer` prints "differs" where an operator is computed
wrongly.

Nodes are taken away, what is cut through becomes inputs and outputs, extents and constants become small. The best model
so far is always in OUT: to go on after an interruption, reduce that one.

Examples:
  tilewright reduce model.onnx -o small.onnx --while "tilewright compare {} --every-layer | grep -q differs"
  tilewright reduce model.onnx --while "tilewright compile {} -o x.twa 2>&1 | grep -q 'internal error'"
  tilewright reduce model.onnx --while "! python check.py {}" --timeout 20 --tries 300
"""

import argparse
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from tilewright.errors import UsageError

from ...runtime.commands.console import progress_bar
from ...runtime.commands.parser import add_output, seconds, whole_number

_TRIES, _SECONDS = 1000, 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="The ONNX model that fails.")
    parser.add_argument(
        "--while",
        dest="command",
        required=True,
        metavar="COMMAND",
        help="What the shell runs on each model, with its path in place of {} or behind it: exit code 0 where it still "
        "fails.",
    )
    add_output(parser, "OUT.onnx", "The file to write. Default: MODEL.reduced.onnx in this folder.")
    parser.add_argument(
        "--tries", type=whole_number(1), default=_TRIES, metavar="N", help="How many models are tried at most."
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_SECONDS,
        metavar="SECONDS",
        help="After so long the command is ended, and the model does not count as failing.",
    )


class ReducedModel(TypedDict):
    """The small model that still fails.

    Attributes:
        nodes: how many of which type it has.
        before: how many nodes there were.
        tries: models that were tried.
    """

    output: str
    nodes: dict[str, int]
    before: int
    tries: int


def run(arguments: argparse.Namespace) -> str | ReducedModel:
    from ...runtime.files.output_file import check_output, write_file
    from ...runtime.report.table import show_number
    from ..frontend.onnx.smaller_models import ReducibleModel
    from ..reduction import Reduction, command_test

    path: Path = arguments.model
    if path.suffix.lower() in (".xml", ".twa", ".tw"):
        hint = f"Write it as ONNX first: tilewright export {path} -o {path.stem}.onnx"
        raise UsageError("reduce takes ONNX models", found=str(path), hint=hint if path.suffix != ".twa" else None)
    output: Path = arguments.output or Path(f"{path.stem}.reduced.onnx")
    check_output(output, source=path)
    model = ReducibleModel.read(path)
    count = len(model.nodes)

    def keep(content: bytes) -> None:
        nonlocal smallest
        smallest = len(ReducibleModel.parse(content).nodes)
        write_file(output, content)

    smallest = count
    with progress_bar(quiet=arguments.quiet) as report, TemporaryDirectory(prefix="tilewright") as folder:
        reduction = Reduction(
            command_test(arguments.command, Path(folder) / "candidate.onnx", arguments.timeout),
            arguments.tries,
            keep,
            lambda tries, limit: report(f"{show_number(smallest, 'node')} left, tries", tries, limit),
        )
        found = reduction.run(model)
    if found is model:
        keep(found.content())
    kinds = Counter(found.kinds)
    if arguments.json:
        return {"output": str(output), "nodes": dict(kinds), "before": count, "tries": reduction.tries}
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    more = "; stopped at the limit of tries" if reduction.tries >= arguments.tries else ""
    tries = f"{reduction.tries} {'try' if reduction.tries == 1 else 'tries'}"
    still = "still fails" if len(found.nodes) == 1 else "still fail"
    return f"{output}: {show_number(len(found.nodes), 'node')} of {count} ({told}) {still}, after {tries}{more}\n"
