"""How to compile: each option, declared once for ``tilewright compile`` and ``tilewright.compile``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import ProgressReport, silent

# For types alone: the command line reads the declarations whatever the command, and must not wait for the compiler.
if TYPE_CHECKING:
    import os

    from ..codegen.cpu.llvm.target import TargetDescription
    from ..passes.instruments import Instrument
    from .affinity import Affinity
    from .calibration.dataset import Source
    from .calibration.preprocessing import PreprocessingSource
    from .frontend.onnx.reader import InputShapes


def about(
    help: str, *, metavar: str | None = None, flag: str | None = None, type: object = None, needs: str | None = None
) -> dict[str, Any]:
    """What documentation and command line must know of an option beside its name and default; a field's metadata.

    Args:
        metavar: what stands for the value in the help of the command.
        flag: how the command spells the option, if not as its name with dashes.
        type: of the value on the command line, as Typer knows it; ``None`` for an option of programs alone.
        needs: ``int8`` for an option of that precision alone, ``calibration`` for one that goes with such data.
    """
    return {"help": help, "metavar": metavar, "flag": flag, "type": type, "needs": needs}


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """How to compile; the declarations say what each option means."""

    precision: str | None = field(
        default=None,
        metadata=about(
            "int8: quantised, on the accelerator where possible, with the engines software (the same integers on the "
            "CPU) and float beside it. fp32: the whole network on CPU kernels. Default: int8 if the model is quantised "
            "or calibration data is given, otherwise fp32.",
            type=str | None,
        ),
    )
    calibration: Source | None = field(
        default=None,
        metadata=about(
            "Sample inputs to derive scales from: a folder of images; a .npy or .npz file whose first dimension counts "
            "the samples; or the word random, only to try things out. In Python also arrays, a mapping of arrays by "
            "input name, or an iterable of samples.",
            metavar="DATA",
            type=str | None,
            needs="int8",
        ),
    )
    preprocessing: PreprocessingSource | None = field(
        default=None,
        metadata=about(
            "How images become inputs, such as resize=central,mean=123.7/116.3/103.5,scale=1/58, or JSON. "
            "Default: shorter side, central crop, RGB, (pixel - 127.5) / 127.5.",
            metavar="KEY=VALUE,…",
            flag="--preprocess",
            type=str | None,
            needs="calibration",
        ),
    )
    calibration_method: str = field(
        default="mse",
        metadata=about(
            "How ranges follow from samples: mse, minmax or percentile.",
            metavar="METHOD",
            type=str,
            needs="calibration",
        ),
    )
    percentile: float = field(
        default=99.99,
        metadata=about("The percentile for the method percentile.", type=float, needs="calibration"),
    )
    calibration_limit: int | None = field(
        default=None,
        metadata=about("Use at most N samples.", metavar="N", type=int | None, needs="calibration"),
    )
    machine: str | None = field(
        default=None,
        metadata=about(
            "The accelerator: m4096, s256, or the path of a machine file. Default: m4096.",
            metavar="MACHINE",
            type=str | None,
            needs="int8",
        ),
    )
    affinity: Affinity | Mapping[str, str] | str | os.PathLike[str] | None = field(
        default=None,
        metadata=about(
            "Which ops run where: a file with lines `node = cpu` or `node = device`, or with JSON. "
            "In Python also a mapping.",
            metavar="FILE",
            type=str | None,
            needs="int8",
        ),
    )
    devices: str = field(
        default="device,cpu",
        metadata=about(
            "Where ops may run, in order of preference; cpu alone keeps everything off the accelerator.",
            metavar="ORDER",
            type=str,
            needs="int8",
        ),
    )
    target: TargetDescription | str | None = field(
        default=None,
        metadata=about(
            "The processor to generate kernels for: host, avx2, or portable for any of its architecture. "
            "Default: host.",
            metavar="TARGET",
            type=str | None,
        ),
    )
    input_shapes: InputShapes | None = field(
        default=None,
        metadata=about(
            "The shape of an input that the model leaves open; repeatable. In Python a mapping by input name.",
            metavar="NAME=1,3,224,224",
            flag="--input-shape",
            type=list[str] | None,
        ),
    )
    strict: bool = field(
        default=False,
        metadata=about(
            "Fail, with exit code 3, if an operator has no kernel, instead of running it slowly.",
            flag="--strict",
            type=bool,
        ),
    )
    dump: str | os.PathLike[str] | None = field(
        default=None,
        metadata=about(
            "Write the module to this folder before the first pass and after each pass that changes it.",
            metavar="FOLDER",
            type=Path | None,
        ),
    )
    print_after: Sequence[str] | None = field(
        default=None,
        metadata=about(
            "Print the module to stderr after this pass, or after every pass for *; repeatable.",
            metavar="PASS",
            type=list[str] | None,
        ),
    )
    time_passes: bool = field(
        default=False,
        metadata=about(
            "Print to stderr how long each pass and every other stage took.", flag="--time-passes", type=bool
        ),
    )
    instruments: Sequence[Instrument] = field(default=(), metadata=about("Observers of the passes."))
    report: ProgressReport = field(default=silent, metadata=about("Called as the stages advance."))

    def given(self, needs: str) -> Iterator[str]:
        """The flags of those options that need ``needs`` and have another value than by default."""
        for each in fields(self):
            value, default = getattr(self, each.name), each.default
            if each.metadata["needs"] == needs and (value is not None if default is None else value != default):
                yield flag_of(each)


def flag_of(declared: Field) -> str:
    """The flag of an option on the command line."""
    return declared.metadata["flag"] or f"--{declared.name.replace('_', '-')}"
