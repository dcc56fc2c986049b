"""How to compile: each option, declared once for ``tilewright compile`` and ``tilewright.compile``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tilewright.errors import UsageError

from .declarations import check_type, flag_of, option
from .progress import ProgressReport, silent

Shares = Callable[[Callable[[Any], Any], Sequence[Any], Sequence[str]], list[Any]]
"""Given a function, shards, and paths of files that it reads: what the function makes of each shard, in order."""

# For types alone: the command line reads the declarations whatever the command, and must not wait for the compiler.
if TYPE_CHECKING:
    from ..codegen.cpu.llvm.target import TargetDescription
    from ..passes.instruments import Instrument
    from ..runtime.pictures.inputs import Declaration
    from .calibration.dataset import Source
    from .frontend.formats import ModelProto
    from .frontend.input_shapes import GivenShapes
    from .frontend.ir.document import Document

Options = TypeVar("Options", bound="CompileOptions")

QUANTIZATION, ACCELERATOR = "Quantisation", "Accelerator"
NETWORK, PASSES = "Network and processor", "Watching the passes"
"""Headings of the help of ``tilewright compile``."""

_quantization, _network, _passes = (partial(option, group=group) for group in (QUANTIZATION, NETWORK, PASSES))
_accelerator = partial(option, group=ACCELERATOR, needs="int8")


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """How to compile; the declarations say what each option means."""

    precision: str | None = _quantization(
        None,
        "int8: quantised, on the accelerator where possible, with the engine software, the same integers on the CPU, "
        "beside it. fp32: the whole network on CPU kernels. bf16: the same, but that convolutions and products with "
        "known matrices multiply numbers in bfloat16, for targets with AMX. Default: int8 if the model is quantised or "
        "calibration data is given, otherwise fp32.",
        metavar="PRECISION",
        choices=("fp32", "bf16", "int8"),
    )
    calibration: Source | None = _quantization(
        None,
        "Sample inputs to derive scales from: an image or a folder of images; a .npy or .npz file whose first "
        "dimension counts the samples; a .csv file with a line of numbers for each; a .wav file or a folder of these, "
        "for waveforms; NAME=DATA with commas between them for several inputs; the word random, only to try things "
        "out; or the word bounds, for ranges that follow from what --preprocess makes of pixels, without samples, for "
        "activations of 16 bits.",
        in_python="Also such an array, a mapping of arrays or paths by input name, or an iterable of samples.",
        metavar="DATA",
        needs="int8",
    )
    preprocessing: Declaration | None = _quantization(
        None,
        "How images become inputs: imagenet, tf, caffe or yolo, pairs such as resize=central, mean=123.7/116.3/103.5, "
        "std=58/57/57 and units=0-1 with commas between them, or JSON; NAME:… with semicolons between them for several "
        "inputs. The artifact keeps it for `run` and `classify`. "
        "Default: shorter side, central crop, RGB, (pixel - 127.5) / 127.5.",
        in_python="Also a mapping, of fields or by input name.",
        metavar="KEY=VALUE,…",
        flag="--preprocess",
    )
    calibration_method: str = _quantization(
        "mse",
        "How ranges follow from samples: mse, minmax or percentile.",
        metavar="METHOD",
        choices=("mse", "minmax", "percentile"),
        needs="calibration",
    )
    percentile: float = _quantization(
        99.99, "The percentile for the method percentile.", metavar="P", needs="calibration"
    )
    calibration_limit: int | None = _quantization(None, "Use at most N samples.", metavar="N", needs="calibration")
    methods: str = _quantization(
        "none",
        "What makes the integers more exact, by what samples show: inputs, of 8 bits, such as pixels, as these very "
        "integers; channels, scales by channel in front of depthwise convolutions; products, scales by channel between "
        "matrix products and floating point; additions, sums from the accumulators of the convolution before them, not "
        "in exported files; outputs, from the accumulators of the last layers, which then run on the CPU; rounding, of "
        "weights, by the error of their layer, with corrected biases; all, or none.",
        metavar="METHODS",
        needs="calibration",
    )
    weights_bits: int = _quantization(
        8,
        "Of the weights' integers: 4, 8 or 16. Those of 4 bits are rounded as is learnt from the samples, layer after "
        "layer, which takes minutes; the first and the last layer, those of short sums and the smallest keep 8. Files "
        "are packed. Of layers whose results have 16 bits (--wide), 16 are twice 8: two layers and their sum.",
        metavar="BITS",
        choices=(4, 8, 16),
        needs="calibration",
    )
    encodings: str | os.PathLike[str] | None = _quantization(
        None,
        "An .encodings file of AIMET, which gives the ranges of its 8-bit activations instead of samples. Weights have "
        "scales of their own.",
        metavar="FILE",
        needs="int8",
    )
    machine: str | os.PathLike[str] | None = _accelerator(
        None, "The accelerator: m4096, s256, u250, or the path of a machine file. Default: m4096.", metavar="MACHINE"
    )
    clusters: int | None = _accelerator(
        None,
        "How many of the accelerator's clusters work on each image: they share out the rows or the channels of every "
        "layer. Default: all that there are. Results do not depend on it.",
        metavar="N",
    )
    images_per_cluster: int | None = _accelerator(
        None,
        "Of a network that takes several images at once: let every cluster work on N whole images, whose weights are "
        "loaded once for all clusters. Default: all clusters work on all of them. Results do not depend on it.",
        metavar="N",
    )
    cards: int = _accelerator(
        1,
        "How many of the machine's cards compute the network. They share out the images that it takes at once, each "
        "its own with the same program; where there are fewer images than cards, they share out the layers, and send "
        "each other the maps between them. Results do not depend on it.",
        metavar="N",
    )
    effort: str = _accelerator(
        "normal",
        "How long to look for a fast schedule of the accelerator's work: quick takes the first, in the better of a few "
        "orders of its tiles; normal compares a few, and of small programs other tiles, up to ten times as long; "
        "thorough all of a machine and of those below it.",
        metavar="EFFORT",
        choices=("quick", "normal", "thorough"),
    )
    affinity: Mapping[str, str] | Sequence[tuple[str, str]] | str | os.PathLike[str] | None = _accelerator(
        None,
        "Which ops run where: a file of lines `node = cpu` or `node = device`, or of JSON.",
        in_python="Also a mapping.",
        metavar="FILE",
    )
    devices: str = _accelerator(
        "device,cpu",
        "Where ops may run, in order of preference; cpu alone keeps everything off the accelerator.",
        metavar="ORDER",
    )
    keep_float: Sequence[str] = _quantization(
        (),
        "What stays in floating point when the model is quantised with calibration data: nodes and tensors of the "
        "model by name, with * for any characters, and operators, such as matmul; with commas between them.",
        in_python="A list.",
        metavar="NAME,…",
        needs="int8",
    )
    wide: Sequence[str] = _quantization(
        (),
        "Activations that are integers of 16 bits instead of 8, which are finer and take twice the room: those that "
        "nodes and tensors of the model make, by name, with * for any characters, and operators, with commas between "
        "them, or all. They are symmetric about 0; weights keep their 8 bits.",
        in_python="A list.",
        metavar="NAME,…",
        needs="int8",
    )
    keep: Sequence[str] = _network(
        (),
        "Tensors of the model that are outputs of the artifact as well, in real units and behind those of the network, "
        "for `tilewright compare`: by name, with * for any characters, with commas between them, or all. Those that "
        "became part of others cannot be had.",
        in_python="A list.",
        metavar="NAME,…",
    )
    stationary: str = option(
        "cheapest",
        "What convolutions keep in the scratchpads of the accelerator while the other passes by: weights, inputs, or "
        "cheapest, whichever costs less for each.",
        choices=("cheapest", "weights", "inputs"),
    )
    accuracy: str = _network(
        "normal",
        "How convolutions in floating point may round: normal computes them by Winograd's algorithm where that is "
        "faster, which moves results by about 1e-6 of the largest; exact sums up products alone.",
        metavar="ACCURACY",
        choices=("normal", "exact"),
    )
    engines: str | Sequence[str] | None = _network(
        None,
        "What the artifact can be run by, with commas between them: device, the accelerator; software, the same "
        "integers on the CPU; float, floating point on the CPU. They share their weights. Default: device and software "
        "with int8, float with fp32.",
        in_python="Also a list.",
        metavar="ENGINES",
    )
    target: TargetDescription | str | Sequence[TargetDescription] | Sequence[str] | None = _network(
        None,
        "The processor to generate kernels for: host; one that this machine need not have or be, v2, v3, v4, avx-vnni, "
        "avx512-vnni, avx512-bf16 or amx of x86-64, aarch64, aarch64-dotprod, aarch64-i8mm or riscv64; or portable for "
        "any of the architecture here. Of several, with commas between them, the most capable that runs is used; they "
        "share their weights. Default: host.",
        in_python="Also a list.",
        metavar="TARGET",
    )
    input_shapes: GivenShapes | None = _network(
        None,
        "The shape of an input that the model leaves open (image=1,3,224,224 or image=1x3x224x224), or what one of its "
        "open extents is, by the name that the model has for it (batch=4); * in a name is any characters. Several make "
        "an artifact of several shapes with shared weights, by compile alone: batch=1,4,8 or sequence=32..512/32 for "
        "an extent, of several such each with each; for an input the option again with its next shape.",
        in_python="A mapping by name, or a list of them.",
        metavar="NAME=1,3,224,224",
        flag="--input-shape",
        repeatable=True,
    )
    freeze: Mapping[str, object] | None = _network(
        None,
        "Make an input a constant: numbers with commas between them, true or false, or the path of a .npy file.",
        in_python="A mapping by input name; also of numbers, lists and arrays.",
        metavar="NAME=VALUE",
        repeatable=True,
    )
    bounds: Mapping[str, int] | None = _network(
        None,
        "The most that an element of a tensor of the model can be, where the data decide an extent by it and nothing "
        "says how large that can be: memory is planned for so many, and a run in which there are more, or fewer than "
        "none, ends with an error. Errors of compilation name such tensors.",
        in_python="A mapping by the names of tensors.",
        metavar="NAME=N",
        flag="--bound",
        repeatable=True,
    )
    external_data: str | os.PathLike[str] | None = option(
        None,
        "The folder of the files that the model keeps tensors in. By default that of the model; for a model given as "
        "bytes there is none, and none is read.",
    )
    strict: bool = _network(
        False, "Fail, with exit code 3, if an operator has no kernel, instead of running it slowly."
    )
    time_limit: float | None = _network(
        None,
        "Give up when the compilation will take more than so many seconds of processor time. Default: no limit.",
        metavar="SECONDS",
    )
    dump: str | os.PathLike[str] | None = _passes(
        None,
        "Write the module to this folder before the first pass and after each pass that changes it.",
        metavar="FOLDER",
    )
    print_after: Sequence[str] | None = _passes(
        None, "Print the module to stderr after this pass, or after every pass for *.", metavar="PASS", repeatable=True
    )
    time_passes: bool = _passes(False, "Print to stderr how long each pass and every other stage took.")
    instruments: Sequence[Instrument] = option((), "Observers of the passes.")
    report: ProgressReport = option(silent, "Called as the stages advance.")
    shares: Shares | None = option(
        None,
        "Shares out the samples of calibration: called with a function, shards and the paths of files, it returns what "
        "the function makes of each shard, in order. Results do not depend on it.",
    )

    def checked(self: Options) -> Options:
        """The same options as :func:`check_type` returns them.
        Raises UsageError: one has the wrong type, or is none of its choices."""
        found = {each.name: check_type(each.name, getattr(self, each.name), str(each.type)) for each in fields(self)}
        for each in fields(self):
            choices = each.metadata.get("choices")
            if choices and found[each.name] not in (None, *choices):
                name = each.name.replace("_", " ")
                raise UsageError(f"unknown {name}", expected=" or ".join(map(str, choices)), found=found[each.name])
        return replace(self, **found)

    def given(self, needs: str) -> Iterator[str]:
        """The flags of those options that need ``needs`` and have another value than by default."""
        for each in fields(self):
            value, default = getattr(self, each.name), each.default
            if each.metadata.get("needs") == needs and (
                value is not None if default is None else value not in (default, [])
            ):
                yield flag_of(each)

    def engines_for(self, precision: str) -> tuple[str, ...]:
        """The engines that an artifact gets, the preferred one first: those asked for, or what the precision needs.
        Raises UsageError: there is no such engine, or not for this precision."""
        # Late: the command line reads the declarations and needs no numpy.
        from ..runtime.artifact.manifest import ENGINES

        given = self.engines
        if given is None:
            return ("device", "software") if precision == "int8" else ("float",)
        asked = {name for each in ([given] if isinstance(given, str) else given) for name in each.split(",")}
        if unknown := sorted(asked - set(ENGINES)):
            raise UsageError("unknown engine", expected=" or ".join(ENGINES), found=unknown[0])
        if precision != "int8" and asked != {"float"}:
            hint = "Give --precision int8 for engines that compute in integers."
            found = ", ".join(sorted(asked))
            raise UsageError(f"{precision} has no engine but float", expected="float", found=found, hint=hint)
        return tuple(name for name in ENGINES if name in asked)


CALIBRATION = tuple(each.name for each in fields(CompileOptions) if each.metadata["group"] == QUANTIZATION)[1:]
"""The options of calibration: all of their group but the precision."""

IMPORTED = ("input_shapes", "freeze", "bounds")
"""The options that every command takes which reads a model: what it leaves open, and what an import is to know."""

FORMS = ("qdq", "qlinear")
"""How a quantised network is exported: by conversions around operators, or by operators on integers."""

ACTIVATIONS = ("uint8", "int8")
"""What the activations of an exported network are stored as, by default in the form of the same place."""


@dataclass(frozen=True, kw_only=True)
class Exporting(CompileOptions):
    """What ``tilewright.export`` takes: the options, what to write, and in which form."""

    model: str | os.PathLike[str] | bytes | ModelProto | Document = field(
        kw_only=False,
        metadata={"documentation": "As for ``tilewright.compile``, or the path of a module as text (``.tw``)."},
    )
    output: str | os.PathLike[str] = field(
        kw_only=False,
        metadata={
            "documentation": "The file to write. A name in ``.xml`` asks for IR of version 11, as the Inference Engine "
            "and OpenVINO read it, and its constants go into the ``.bin`` file beside it; every other one for ONNX. "
            "Constants of 2 GiB and more, which no ONNX file holds, go into a second file with ``.data`` behind that "
            "name."
        },
    )
    quantized: str | None = option(
        None,
        "Quantise the network, with the scales that it brings or by --calibration. qdq: operators between "
        "DequantizeLinear and QuantizeLinear, of which IR has plain layers that mean the same; qlinear: QLinear "
        "operators, in ONNX alone. Default: the network as it is.",
        metavar="FORM",
        choices=FORMS,
    )
    activations: str | None = option(
        None,
        "What activations of the quantised network are stored as: uint8, which runtimes take fastest on x86, or int8. "
        "They stand for the same numbers. Default: uint8 for qdq; int8 for qlinear, whose operators saturate sums of "
        "uint8 and int8 on processors without VNNI.",
        metavar="TYPE",
        choices=ACTIVATIONS,
    )


KP_TARGET = "KL520"
"""The device of the kp API that containers are for by default."""

IDS_HELP = (
    "Write a container for the devices of the kp API instead of an artifact, and give the model this id in it, 1 to "
    "65535; 32768 and above are for models of your own. With several models, one id for each, in order."
)
TARGET_HELP = f"The device of the kp API that the container is for: KL520 or KL720. Default: {KP_TARGET}."
RADIX_HELP = (
    "In the container, the input is int8 and stands for q / 2^radix: 8 for images normalised as KP_NORMALIZE_KNERON "
    "does (mean=128, scale=1/256), 7 for KP_NORMALIZE_TENSOR_FLOW (127.5 and 1/127.5) and KP_NORMALIZE_YOLO (0 and "
    "1/255). Default: the largest whose integers cover what --preprocess makes of images, else what the samples or the "
    "model itself say."
)
