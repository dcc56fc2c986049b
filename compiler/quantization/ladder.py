"""From a model and samples to integers that are as exact as asked: ``tilewright quantize``."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import cast

import numpy as np

from tilewright.errors import CalibrationError, CalibrationWarning, UsageError, resources
from tilewright.limits import check_count

from ...codegen.cpu.llvm.named_targets import PORTABLE
from ...ir.clone import clone_module
from ...ir.core import Module, Value
from ...ir.quantized import is_wide
from ...ir.types import DType, TensorType
from ...passes.quantization.parameters import Range, affine_parameters
from ...passes.quantization.plan import EVERY
from ...runtime.files.output_file import check_output, output_file
from ..calibration.dataset import open_calibration_set
from ..calibration.ranges import BITS, compiled
from ..calibration.sample_sets import CalibrationSet, Held, Inputs, RandomSet, hold
from ..calibration.statistics import Findings
from ..driver import check_options, compile_to_file, engines_of
from ..export import export_model
from ..frontend.formats import InputShapes, Model, ModelProto, import_model
from ..frontend.ir.document import Document
from ..options import CompileOptions, option, with_keywords
from ..pipeline import simplify_pipeline
from .judging import LayerLoss, Outputs, Score, answers, doubts, first_shape, losses, read_labels, runner, score
from .layer_costs import seconds_more
from .methods import METHODS, UNEXPORTED, Choices, Prepared
from .output_noise import OutputNoise, layers_by_results, layers_to_keep, output_noise
from .quantize import brings_quantization, quantize_module
from .result import Quantization, Rung

CALIBRATED = 100
"""Samples that are calibrated on unless the options say how many."""

JUDGED = 500
"""Samples that are judged on, at most."""

HELD = 2**30
"""Bytes of samples that are judged on, at most, but for one of them."""

LOOKED_AT = 8
"""Samples whose every value is compared, for the layers' losses."""

CHOSEN_BY = 4
"""One sample in so many is not calibrated on, but chooses methods: what suits those is not what suits others."""

MOST_KEPT = 16
"""Layers that are kept in floating point, at most."""

WIDE_SHARES = (1 / 16, 1 / 4)
"""Of the layers, whose results are made of 16 bits, the most harmed first, before all activations are."""


@dataclass(frozen=True, kw_only=True)
class Quantizing(CompileOptions):
    """What ``tilewright.quantize`` takes: the options, what to quantise, and the goal."""

    model: str | os.PathLike[str] | bytes | ModelProto | Document = field(
        kw_only=False,
        metadata={"documentation": "As for ``tilewright.compile``, in floating point and of one shape."},
    )
    output: str | os.PathLike[str] = field(
        kw_only=False,
        metadata={
            "documentation": "The file to write: ONNX or IR for a name in ``.onnx`` or ``.xml``, else an artifact."
        },
    )
    labels: str | os.PathLike[str] | None = option(
        None, "The classes of the samples: a file of lines NAME CLASS, or CLASS in order, or a .npy file."
    )
    max_drop: float | None = option(
        None, "The goal: by how much top-1 may fall, 0 to 1; without labels, the share of answers that may change."
    )
    min_sqnr: float | None = option(None, "The goal, in decibels.")
    written_encodings: str | os.PathLike[str] | None = option(
        None, "A file for the ranges of the activations, as AIMET 1.0.0 has them."
    )


@with_keywords(Quantizing, "tilewright.quantize")
@resources("quantize")
def quantize_model(given: Quantizing) -> Quantization:
    """Quantise a model by samples, trying methods until a goal is met, and write it; this is ``tilewright.quantize``.

    Samples at even distances, up to two thirds of them and 100, are calibrated on, but for every fourth, which chooses
    methods; the others are judged on. The option ``methods`` has no effect, for these are tried.

    Raises:
        UsageError: there is no calibration data, the model is quantised already, the goal is none, or an output is the
            model or the other one.
        CalibrationError: the samples are wrong, or too few to divide.
        TilewrightError: as for compiling and exporting.
    """
    given = given.checked()
    options = check_options(CompileOptions(**{each.name: getattr(given, each.name) for each in fields(CompileOptions)}))
    model, output, labels = given.model, given.output, given.labels
    if options.calibration is None:
        raise UsageError("quantize needs sample inputs", hint="Give --calibration FOLDER of images, .npy or .npz.")
    goal = given.max_drop, given.min_sqnr
    if not 0 <= (given.max_drop or 0) <= 1 or not math.isfinite(given.min_sqnr or 0):
        raise UsageError("this is no goal", expected="a fall of 0 to 1, or decibels", found=goal)
    check_output(output, source=model)
    encodings = given.written_encodings
    if encodings is not None:
        check_output(encodings, source=model)
        if os.path.realpath(encodings) == os.path.realpath(output):
            raise UsageError("the encodings would replace the output", found=encodings, hint="Choose another file.")
    module = import_model(model, options.input_shapes, options.external_data, options.freeze)
    if brings_quantization(module):
        raise UsageError("the model is quantised already", hint="`tilewright compile` takes it as it is.")
    inputs = {parameter.name: parameter.type for parameter in module.main.parameters}
    every = open_calibration_set(options.calibration, inputs, preprocessing=options.preprocessing)
    shape = first_shape(module)
    classes = read_labels(labels, every, shape) if labels is not None else None
    limit = CALIBRATED if options.calibration_limit is None else options.calibration_limit
    calibrating, at = _divided(every, check_count("--calibration-limit", limit))
    # Weights of few bits are learnt from all of them, with all methods at once.
    used, choosing = _set_apart(calibrating) if options.weights_bits == BITS else (calibrating,) * 2
    held = hold(every, at)
    wanted = [label for index in at for label in classes[index]] if classes is not None else None
    methods = [name for name in METHODS if not (_is_exported(output) and name in UNEXPORTED)]
    on_device = not _is_exported(output) and "device" in engines_of(options, "int8")
    search = _Search(module, options, methods, used, choosing, held, wanted, on_device=on_device)
    answered = len(at) * shape[0]
    doubtful = search.doubts()
    if isinstance(every, RandomSet):
        doubtful.append("random inputs tell nothing of what the network will meet")
    if given.max_drop is not None and given.max_drop * answered < 1:
        doubtful.append(f"{answered} answers tell no fall of {100 * given.max_drop:g} %: one of them is more than that")
    goal = _Goal(*goal, search.top1)
    search.climb(goal)
    best = search.best(goal)
    rung = search.rungs[best]
    tried = search.tried[best]
    chosen = {"methods": tried.methods, "keep_float": tried.keep, "wide": tried.wide}
    final = replace(options, **chosen, calibration=used, calibration_limit=None)
    _write(model, output, final)
    if encodings is not None:
        _write_encodings(encodings, tried.choices.ranges, tried.quantized)
    return Quantization(
        model=module.name,
        output=os.fspath(output),
        calibrated=len(used),
        chosen_by=len(choosing),
        judged=len(held),
        top1=search.top1,
        rungs=search.rungs,
        chosen=best,
        reached=goal.met(rung.score) if goal.words else None,
        goal=goal.words,
        kept=[*tried.keep],
        inputs=search.findings.inputs,
        warnings=[*search.findings.warnings, *doubtful],
        layers=search.losses(best),
    )


def _divided(every: CalibrationSet, most: int) -> tuple[Held, list[int]]:
    """Samples to calibrate on, and which ones to judge on, both at even distances."""
    total = len(every)
    count = min(most, total * 2 // 3)
    if count < 1:
        raise CalibrationError(
            "there are too few samples to calibrate on some and judge on others",
            stage="quantize",
            expected="at least 2, better 100 and more",
            found=total,
            hint="`tilewright compile --calibration` calibrates on all there are, and judges nothing.",
        )
    chosen = _even(range(total), count)
    used = hold(every, chosen)
    size = sum(array.nbytes for array in used.samples[0].values())
    others = sorted({*range(total)} - {*chosen})
    return used, _even(others, min(JUDGED, len(others), max(1, HELD // size)))


def _set_apart(given: Held) -> tuple[Held, Held]:
    """What is calibrated on, and what chooses methods; both are all if there are few."""
    apart = {*range(CHOSEN_BY - 1, len(given), CHOSEN_BY)}
    if not apart:
        return given, given
    return given.only([at for at in range(len(given)) if at not in apart]), given.only([*apart])


def _even(places: Sequence[int], count: int) -> list[int]:
    return [places[index * len(places) // count] for index in range(count)]


@dataclass(frozen=True)
class _Goal:
    max_drop: float | None
    min_sqnr: float | None
    top1: float | None

    @property
    def words(self) -> str | None:
        """The goal; ``None`` if there is none."""
        drop = "top-1" if self.top1 is not None else "same answers"
        parts = [f"{drop} at most {100 * self.max_drop:g} % lower"] if self.max_drop is not None else []
        parts += [f"SQNR of at least {self.min_sqnr:g} dB"] if self.min_sqnr is not None else []
        return " and ".join(parts) or None

    def met(self, score: Score) -> bool:
        """Whether a score is good enough; never without a goal."""
        if self.max_drop is None and self.min_sqnr is None:
            return False
        drop = (1 - score.agreement) if self.top1 is None or score.top1 is None else self.top1 - score.top1
        enough = self.min_sqnr is None or score.sqnr >= self.min_sqnr
        return enough and (self.max_drop is None or drop <= self.max_drop + 1e-9)


@dataclass(frozen=True)
class _Try:
    methods: str
    keep: tuple[str, ...]
    wide: tuple[str, ...]
    choices: Choices
    quantized: Module


class _Search:
    """The network in floating point, and the tries to quantise it.

    Choices of what to try next are made by the samples that were calibrated on; the others only judge.
    """

    def __init__(
        self,
        module: Module,
        options: CompileOptions,
        methods: Sequence[str],
        used: Held,
        choosing: Held,
        held: Held,
        labels: Sequence[int] | None,
        *,
        on_device: bool,
    ) -> None:
        self._on_device = on_device
        self._module, self._methods, self._labels = module, methods, labels
        self._options = replace(options, calibration=used, calibration_limit=None)
        self.findings = Findings()
        self._used, self._choosing, self._held = used, choosing, held
        self._floating = clone_module(module)
        simplify_pipeline().run(self._floating)
        self._shape = first_shape(module)
        run = runner(self._floating)
        self._expected: Outputs = self._answers(run, "in floating point")
        self._own: Outputs = answers(run, self._choosing.samples)
        self.rungs: list[Rung] = []
        self.tried: list[_Try] = []
        self._chosen: list[float] = []

    @property
    def _looked_at(self) -> Sequence[Inputs]:
        return self._used.samples[:: max(1, len(self._used.samples) // LOOKED_AT)][:LOOKED_AT]

    @property
    def top1(self) -> float | None:
        """Share of right answers in floating point."""
        return score(self._expected, self._expected, self._labels, self._shape).top1

    def doubts(self) -> list[str]:
        """What is doubtful of the labels."""
        return doubts(self._expected, self._labels, self._shape) if self._labels is not None else []

    def _answers(self, run: Callable[[Inputs], Mapping[str, np.ndarray]], what: str) -> Outputs:
        total = len(self._held.samples)
        found: Outputs = []
        for index, inputs in enumerate(self._held.samples):
            self._options.report(f"judge {what}", index, total)
            found += answers(run, [inputs])
        self._options.report(f"judge {what}", total, total)
        return found

    def attempt(self, what: str, methods: str, keep: Sequence[str], wide: Sequence[str] = ()) -> Score:
        """Quantise so, and judge it."""
        choices = Choices()
        wide = (*self._options.wide, *wide)
        options = replace(self._options, methods=methods, keep_float=tuple(keep), wide=wide)
        findings = None if self.tried else self.findings
        quantized = quantize_module(self._module, options, None, choices, findings)
        run = runner(quantized)
        found = score(self._expected, self._answers(run, what), self._labels, self._shape)
        self.rungs.append(Rung(what, found))
        self.tried.append(_Try(methods, tuple(keep), wide, choices, quantized))
        self._chosen.append(score(self._own, answers(run, self._choosing.samples), None, self._shape).sqnr)
        return found

    def climb(self, goal: _Goal) -> None:
        """Try methods as far as the goal needs; without one all of them, but nothing is kept in floating point."""
        given = [*self._options.keep_float]
        methods: list[str] = []
        if self._options.weights_bits < BITS:
            # Weights are learnt once.
            methods += self._methods
            what = f"all methods, weights of {self._options.weights_bits} bits"
        else:
            what = "ranges of values alone"
        if goal.met(self.attempt(what, ",".join(methods) or "none", given)):
            return
        for name in self._methods if not methods else ():
            before = max(self._chosen)
            found = self.attempt(f"+ {name}: {METHODS[name]}", ",".join([*methods, name]), given)
            if found in [each.score for each in self.rungs[:-1]]:
                # The network has nothing for it.
                del self.rungs[-1], self.tried[-1], self._chosen[-1]
            elif self._chosen[-1] >= before:
                methods.append(name)
            if goal.met(found):
                return
        if goal.words is None:
            return
        asked = ",".join(methods) or "none"
        prepared, noise = self._noise()
        harmed = [op.loc[0] for op in layers_by_results(prepared, noise)]
        counts = dict.fromkeys(max(1, round(share * len(harmed))) for share in WIDE_SHARES)
        for count in counts if not self._options.wide else ():
            wide = harmed[:count]
            what = f"+ results of {len(wide)} layer{'s' if len(wide) > 1 else ''} in 16 bits"
            if goal.met(self.attempt(what, asked, given, wide)):
                return
        if not self._options.wide and goal.met(self.attempt("+ all activations in 16 bits", asked, given, [EVERY])):
            return
        # On the machine, where the accelerator is to compute the network.
        seconds = seconds_more(self._narrowest().quantized, self._options, on_device=self._on_device)
        tried, ways = 0, [*layers_to_keep(prepared, noise, seconds, MOST_KEPT)]
        for way in ways:
            # Twice as many each time, and at least as many as are expected to do.
            expected = goal.min_sqnr is None or way.sqnr >= goal.min_sqnr
            if way is ways[-1] or (expected and len(way.nodes) >= 2 * tried):
                tried = len(way.nodes)
                what = f"+ {tried} layer{'s' if tried > 1 else ''} in floating point"
                if goal.met(self.attempt(what, asked, [*given, *way.nodes])):
                    break

    def _narrowest(self) -> _Try:
        """The best try in which no more activations have 16 bits than the options name."""
        asked = [index for index, each in enumerate(self.tried) if each.wide == tuple(self._options.wide)]
        return self.tried[max(asked, key=self._chosen.__getitem__)]

    def _noise(self) -> tuple[Prepared, OutputNoise]:
        """That try in floating point, and what each of its roundings does to the outputs."""
        prepared = self._narrowest().choices.prepared
        assert prepared is not None
        return prepared, output_noise(prepared, self._looked_at, self._options.report)

    def best(self, goal: _Goal) -> int:
        """The first try that meets the goal, else that of the highest SQNR."""
        met = [index for index, rung in enumerate(self.rungs) if goal.met(rung.score)]
        return met[0] if met else int(np.argmax(self._chosen))

    def losses(self, index: int) -> list[LayerLoss]:
        """What the values of a try lose, the most harmed first."""
        return self._losses(self.tried[index])

    def _losses(self, tried: _Try) -> list[LayerLoss]:
        divided = {**tried.choices.scales, **tried.choices.boundaries}
        names = [name for name in tried.choices.ranges if name not in divided]
        a, b = _named(self._floating, names), _named(tried.quantized, names)
        both = [name for name in names if name in a and name in b]
        if not both:
            return []
        first = compiled(self._floating, {name: a[name] for name in both}, self._options.report, PORTABLE)
        second = compiled(tried.quantized, {name: b[name] for name in both}, self._options.report, PORTABLE)
        exact: dict[str, list[np.ndarray]] = {name: [] for name in both}
        found: dict[str, list[np.ndarray]] = {name: [] for name in both}
        for inputs in self._looked_at:
            for name, array in first(inputs).items():
                exact[name].append(array)
            for name, array in second(inputs).items():
                found[name].append(_real(array, b[name]))
        dtypes = {name: DType.I16 if is_wide(b[name].type) else DType.I8 for name in both}
        types = {
            name: TensorType(b[name].type.shape, dtype, affine_parameters(tried.choices.ranges[name], dtype))
            for name, dtype in dtypes.items()
        }
        return losses(exact, found, types)


def _named(module: Module, names: Sequence[str]) -> dict[str, Value]:
    wanted = set(names)
    return {value.name: value for op in module.main.ops for value in op.results if value.name in wanted}


def _real(array: np.ndarray, value: Value) -> np.ndarray:
    quant = value.type.quant
    if quant is None:
        return array
    scale, zero = quant.broadcast(array.ndim)
    return (array.astype(np.int64) - zero).astype(np.float32) * scale


def _is_exported(output: str | os.PathLike[str]) -> bool:
    """Whether an output is for other runtimes."""
    return Path(output).suffix.lower() in (".onnx", ".xml")


def _write(model: Model, output: str | os.PathLike[str], options: CompileOptions) -> None:
    if not _is_exported(output):
        compile_to_file(model, output, replace(options, precision="int8"))
        return
    with warnings.catch_warnings():
        # They are told already.
        warnings.simplefilter("ignore", CalibrationWarning)
        _export(model, output, options)


def _export(model: Model, output: str | os.PathLike[str], options: CompileOptions) -> None:
    export_model(
        model,
        output,
        quantized="qdq",
        calibration=options.calibration,
        preprocessing=options.preprocessing,
        calibration_method=options.calibration_method,
        percentile=options.percentile,
        methods=options.methods,
        weights_bits=options.weights_bits,
        keep_float=options.keep_float,
        wide=options.wide,
        input_shapes=cast("InputShapes | None", options.input_shapes),
        freeze=options.freeze,
        external_data=options.external_data,
        report=options.report,
    )


def _write_encodings(path: str | os.PathLike[str], ranges: Mapping[str, Range], quantized: Module) -> None:
    """The ranges of activations as AIMET 1.0.0 has them."""
    entries: list[dict[str, object]] = []
    wide = {value.name for op in quantized.main.ops for value in op.results if is_wide(value.type)}
    for name, range in ranges.items():
        dtype, bits = (DType.I16, 16) if name in wide else (DType.I8, 8)
        quant = affine_parameters(range, dtype)
        offset = [-(2 ** (bits - 1)) - quant.zero_point[0]]
        shape = {"name": name, "enc_type": "PER_TENSOR", "dtype": "INT", "bw": bits, "is_sym": bits == 16}
        entries.append({**shape, "scale": [quant.scale[0]], "offset": offset})
    text = json.dumps({"version": "1.0.0", "activation_encodings": entries, "param_encodings": []}, indent=2)
    with output_file(path) as file:
        file.write(f"{text}\n".encode())
