"""How to compile: each option, declared once for ``tilewright compile`` and ``tilewright.compile``."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, TypeVar

from tilewright.errors import UsageError

from .console import ProgressReport, silent

# For types alone: the command line reads the declarations whatever the command, and must not wait for the compiler.
if TYPE_CHECKING:
    from ..codegen.cpu.llvm.target import TargetDescription
    from ..passes.instruments import Instrument
    from .affinity import AffinitySource
    from .calibration.dataset import Source
    from .calibration.preprocessing import PreprocessingSource
    from .frontend.onnx.reader import InputShapes

T = TypeVar("T")

_PLAIN: dict[str, type] = {
    "str": str,
    "os.PathLike[str]": os.PathLike,
    "int": numbers.Integral,
    "float": numbers.Real,
    "bool": bool,
    "None": type(None),
}
"""Types by type hint, for options that are numbers, words, paths and switches."""


def option(
    default: T,
    help: str,
    *,
    metavar: str | None = None,
    flag: str | None = None,
    type: object = None,
    needs: str | None = None,
    in_python: str = "",
    on_command_line: bool = True,
) -> T:
    """Declare an option: a dataclass field with what documentation and command line must know beside its name.

    Args:
        metavar: what stands for the value in the help of the command.
        flag: how the command spells the option, if not as its name with dashes.
        type: of the value on the command line, as Typer knows it; by default that of ``default``, or optional text.
        in_python: what ``help`` leaves out because it concerns programs alone.
        needs: ``int8`` for an option of that precision alone, ``calibration`` for one that goes with such data.
    """
    if on_command_line and type is None:
        type = str | None if default is None else default.__class__
    shown = f"{help} Repeatable." if type == list[str] | None else help
    metadata = {"help": shown, "metavar": metavar, "flag": flag, "type": type, "needs": needs}
    return field(default=default, metadata={**metadata, "documentation": f"{help} {in_python}"})


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """How to compile; the declarations say what each option means."""

    precision: str | None = option(
        None,
        "int8: quantised, on the accelerator where possible, with the engines software (the same integers on the CPU) "
        "and float beside it. fp32: the whole network on CPU kernels. Default: int8 if the model is quantised or "
        "calibration data is given, otherwise fp32.",
        metavar="PRECISION",
    )
    calibration: Source | None = option(
        None,
        "Sample inputs to derive scales from: a folder of images; a .npy or .npz file whose first dimension counts the "
        "samples; or the word random, only to try things out.",
        in_python="Also such an array, a mapping of arrays by input name, or an iterable of samples.",
        metavar="DATA",
        needs="int8",
    )
    preprocessing: PreprocessingSource | None = option(
        None,
        "How images become inputs: pairs such as resize=central, mean=123.7/116.3/103.5 and scale=1/58 with commas "
        "between them, or JSON. "
        "Default: shorter side, central crop, RGB, (pixel - 127.5) / 127.5.",
        in_python="Also a mapping.",
        metavar="KEY=VALUE,…",
        flag="--preprocess",
        needs="calibration",
    )
    calibration_method: str = option(
        "mse", "How ranges follow from samples: mse, minmax or percentile.", metavar="METHOD", needs="calibration"
    )
    percentile: float = option(99.99, "The percentile for the method percentile.", metavar="P", needs="calibration")
    calibration_limit: int | None = option(
        None, "Use at most N samples.", metavar="N", type=int | None, needs="calibration"
    )
    machine: str | os.PathLike[str] | None = option(
        None,
        "The accelerator: m4096, s256, or the path of a machine file. Default: m4096.",
        metavar="MACHINE",
        type=str | None,
        needs="int8",
    )
    affinity: AffinitySource | None = option(
        None,
        "Which ops run where: a file of lines `node = cpu` or `node = device`, or of JSON.",
        in_python="Also a mapping.",
        metavar="FILE",
        needs="int8",
    )
    devices: str = option(
        "device,cpu",
        "Where ops may run, in order of preference; cpu alone keeps everything off the accelerator.",
        metavar="ORDER",
        needs="int8",
    )
    target: TargetDescription | str | None = option(
        None,
        "The processor to generate kernels for: host, avx2, or portable for any of its architecture. Default: host.",
        metavar="TARGET",
    )
    input_shapes: InputShapes | None = option(
        None,
        "The shape of an input that the model leaves open.",
        in_python="A mapping by input name.",
        metavar="NAME=1,3,224,224",
        flag="--input-shape",
        type=list[str] | None,
    )
    strict: bool = option(False, "Fail, with exit code 3, if an operator has no kernel, instead of running it slowly.")
    dump: str | os.PathLike[str] | None = option(
        None,
        "Write the module to this folder before the first pass and after each pass that changes it.",
        metavar="FOLDER",
    )
    print_after: Sequence[str] | None = option(
        None,
        "Print the module to stderr after this pass, or after every pass for *.",
        metavar="PASS",
        type=list[str] | None,
    )
    time_passes: bool = option(False, "Print to stderr how long each pass and every other stage took.")
    instruments: Sequence[Instrument] = option((), "Observers of the passes.", on_command_line=False)
    report: ProgressReport = option(silent, "Called as the stages advance.", on_command_line=False)

    def check_types(self) -> None:
        """Refuse numbers, words, paths and switches of the wrong type, which type checkers know but programs may not.

        Raises:
            UsageError: names the option.
        """
        for each in fields(self):
            hints = str(each.type).split(" | ")
            value = getattr(self, each.name)
            if _PLAIN.keys() >= set(hints) and not isinstance(value, tuple(_PLAIN[hint] for hint in hints)):
                found = f"{type(value).__name__} {value!r}"
                raise UsageError(f"option {each.name!r} has the wrong type", expected=each.type, found=found)

    def given(self, needs: str) -> Iterator[str]:
        """The flags of those options that need ``needs`` and have another value than by default."""
        for each in fields(self):
            value, default = getattr(self, each.name), each.default
            if each.metadata.get("needs") == needs and (value is not None if default is None else value != default):
                yield flag_of(each)


def flag_of(declared: Field) -> str:
    """The flag of an option on the command line."""
    return declared.metadata["flag"] or f"--{declared.name.replace('_', '-')}"
