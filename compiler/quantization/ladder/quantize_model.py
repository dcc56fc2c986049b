"""From a model and samples to integers that are as exact as asked: ``tilewright quantize``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from tilewright.errors import (
    CalibrationError,
    CalibrationWarning,
    OutputError,
    TilewrightError,
    UsageError,
    resources,
    warn,
)
from tilewright.limits import check_count

from ....ir.quantized import is_wide
from ....ir.types import TensorType
from ....runtime.files.input_file import SAMPLE_FILES
from ....runtime.files.output_file import check_artifact_name, check_output, write_file
from ....runtime.report.details import InputStatistics
from ....runtime.report.input_doubts import FEW, doubts
from ...calibration.dataset import open_calibration_set
from ...calibration.open_inputs import with_open_inputs
from ...calibration.ranges import BITS
from ...calibration.sample_sets import CalibrationSet, Held, has_noise, hold, unsaid
from ...calibration.statistics import NOISE
from ...declarations import option, with_keywords
from ...driver import Shared, check_options, compile_to_file
from ...export import check_model_output, export_by
from ...frontend.formats import Model, ModelProto, import_model
from ...frontend.ir.document import Document
from ...options import CompileOptions
from ...report.details import answers
from ..methods import METHODS, UNEXPORTED
from ..quantize import brings_quantization
from .climb import Search
from .goal import Goal
from .judging import NO_NOISE, first_shape, read_labels
from .result import Quantization

T = TypeVar("T")

CALIBRATED = 100
"""Samples that are calibrated on unless the options say how many."""

JUDGED = 500
"""Samples that are judged on, at most."""

HELD = 2**30
"""Bytes of samples that are judged on, at most, but for one of them."""

COMPARED = 2**22
"""Numbers of samples that judge that are compared with those that were calibrated on, at most, but for one of them."""

CHOSEN_BY = 4
"""One sample in so many is not calibrated on, but chooses methods: what suits those is not what suits others."""


@dataclass(frozen=True, kw_only=True)
class Quantizing(CompileOptions):
    """What ``tilewright.quantize`` takes: the options, what to quantise, and the goal."""

    model: str | os.PathLike[str] | bytes | ModelProto | Document = field(
        kw_only=False, metadata={"documentation": "As for ``tilewright.compile``, in floating point and of one shape."}
    )
    output: str | os.PathLike[str] = field(
        kw_only=False,
        metadata={
            "documentation": "The file to write: ONNX or IR for a name in ``.onnx`` or ``.xml``, else an artifact."
        },
    )
    labels: str | os.PathLike[str] | None = option(
        None,
        "The classes of the samples: a file of lines NAME CLASS, or CLASS in order, a .npy file, or a folder of masks.",
    )
    max_drop: float | None = option(
        None,
        "The goal: by how much top-1, or of masks the mean IoU, may fall, 0 to 1; without labels, the share of answers "
        "that may change.",
    )
    min_sqnr: float | None = option(None, "The goal for each output in floating point, in decibels.")
    written_encodings: str | os.PathLike[str] | None = option(
        None, "A file for the ranges of the activations, as AIMET 1.0.0 has them."
    )


@with_keywords(Quantizing, "tilewright.quantize")
@resources("quantize")
def quantize_model(given: Quantizing) -> Quantization:
    """Quantise a model by samples, trying methods until a goal is met, and write it; this is ``tilewright.quantize``.

    Samples at even distances, up to two thirds of them and 100, are calibrated on, but for every fourth, which chooses
    methods; the others are judged on. The option ``methods`` has no effect, for these are tried. A try that fails is
    left out, but for the first one.
    Raises UsageError: there is no calibration data, the model is quantised already, the goal is none, no engine
    computes in integers, or an output is the model or the other one; CalibrationError: the samples are wrong, or too
    few to divide; TilewrightError: as for compiling and exporting."""
    given = given.checked()
    options = check_options(CompileOptions(**{each.name: getattr(given, each.name) for each in fields(CompileOptions)}))
    options = with_open_inputs(given.model, options)
    model, output, labels = given.model, given.output, given.labels
    if options.calibration is None:
        raise UsageError(
            "quantize needs sample inputs", hint=f"Give --calibration FOLDER of images, or {SAMPLE_FILES}."
        )
    drop, sqnr = wanted = given.max_drop, given.min_sqnr
    is_fall = 0 <= (drop or 0) <= 1
    if not is_fall or not abs(sqnr or 0) < NO_NOISE:
        expected = f"a fall of 0 to 1, or less than {NO_NOISE:g} decibels"
        found = f"{sqnr:g} decibels" if is_fall else f"a fall of {drop:g}"
        raise UsageError("this is no goal", expected=expected, found=found)
    if is_exported(output):
        check_model_output(output, model, options.external_data)
    else:
        check_output(output, source=model)
        check_artifact_name(output)
    for name in ("engines", "machine"):
        if is_exported(output) and getattr(options, name) is not None:
            hint = "Leave it out, or name an artifact (.twa)."
            raise UsageError(f"--{name} is for artifacts", found=f"output {os.fspath(output)!r}", hint=hint)
    engines = options.engines_for("int8")
    if not {"device", "software"} & {*engines}:
        hint, found = "`tilewright compile` makes artifacts in floating point.", ", ".join(engines)
        raise UsageError("quantize writes integers", expected="engine device or software", found=found, hint=hint)
    encodings = given.written_encodings
    if encodings is not None:
        check_output(encodings, source=model)
        if os.path.realpath(encodings) == os.path.realpath(output):
            raise UsageError("the encodings would replace the output", found=encodings, hint="Choose another file.")
    module = import_model(model, options.input_shapes, options.external_data, options.freeze, options.bounds)
    if brings_quantization(module):
        raise UsageError("the model is quantised already", hint="`tilewright compile` takes it as it is.")
    # They may be folded or packed: half of what their integers take is there in any case.
    weights = sum(each.type.elements for each in module.constants.values() if each.uses and each.type.dtype.is_float)
    check_output(output, room=max(1, weights * options.weights_bits // 16))
    inputs = {parameter.name: parameter.type for parameter in module.main.parameters}
    every = open_calibration_set(options.calibration, inputs, preprocessing=options.preprocessing)
    shape = first_shape(module)
    has_answers = shape[1] != 1 or module.main.result_names[0] in answers(module)["truths"]
    if not has_answers and (given.max_drop, labels) != (None, None):
        hint = "Give --min-sqnr 30 (min_sqnr=30 in Python), not --max-drop or --labels; or end it in a sigmoid."
        what = "the first output is no classes: of one number, for a sample or pixel, the largest is always the same"
        raise UsageError(what, found=module.main.results[0].type, hint=hint)
    limit = CALIBRATED if options.calibration_limit is None else options.calibration_limit
    calibrating, at = divided(every, check_count("--calibration-limit", limit))
    # Weights of few bits are learnt from all of them, with all methods at once.
    used, choosing = set_apart(calibrating) if options.weights_bits >= BITS else (calibrating,) * 2
    right = read_labels(labels, every, module.main.results[0].type, shape, at) if labels is not None else None
    held = hold(every, at)
    methods = [name for name in METHODS if not (is_exported(output) and name in UNEXPORTED)]
    # What is judged is what will be written: some forms are for the accelerator.
    options = replace(options, engines=None if is_exported(output) else engines)
    search = Search(
        module, options, methods, used, choosing, held, right, has_masks=labels is not None and os.path.isdir(labels)
    )
    floating = search.floating
    goal = Goal(*wanted, floating.right, search.discrete, "top-1" if floating.iou is None else "mean IoU")
    doubtful = search.doubts()
    if has_noise(every):
        doubtful.append(NOISE)
    if options.preprocessing is None:
        doubtful += unsaid(every)
    doubtful += goal.doubts(len(at) * shape[0] * shape[2])
    try:
        search.climb(goal)
        doubtful += _unlike(held, search.findings.inputs)
        best = _write_best(search, goal, model, output)
    except KeyboardInterrupt:
        tries = "; ".join(rung.told for rung in search.rungs) or "nothing"
        warn(f"nothing was written; SQNR of what was tried by then: {tries}", CalibrationWarning)
        raise
    tried = search.tried[best]
    if encodings is not None:
        write_encodings(encodings, tried.types)
    return Quantization(
        model=module.name,
        output=os.fspath(output),
        weights_bits=options.weights_bits,
        calibrated=len(used),
        chosen_by=len(choosing),
        chosen_apart=choosing is not used,
        judged=len(held),
        top1=floating.top1,
        iou=floating.iou,
        has_answers=has_answers,
        rungs=search.rungs,
        failed=search.failed,
        chosen=best,
        reached=goal.met(search.rungs[best].score) if goal.words else None,
        goal=goal.words,
        kept=[*tried.keep],
        wide=[*tried.wide],
        inputs=search.findings.inputs,
        warnings=[*search.findings.warnings, *doubtful],
        layers=search.losses(best),
    )


def _unlike(held: Held, known: Sequence[InputStatistics]) -> list[str]:
    """What tells that samples that judge are others than those that were calibrated on, as statistics have these."""
    size = sum(array.size for array in held.samples[0].values())
    some = _even(held.samples, min(len(held), max(1, COMPARED // max(1, size))))
    joined = {name: np.concatenate([np.atleast_1d(each[name]) for each in some]) for name in some[0]}
    found = doubts({name: array for name, array in joined.items() if array.size >= FEW}, known)
    return [f"the samples that judge are unlike those that were calibrated on: {each}" for each in found]


def _write_best(search: Search, goal: Goal, model: Model, output: str | os.PathLike[str]) -> int:
    """Write the best try that can be written; which one it is."""
    while True:
        best = search.best(goal)
        try:
            write_quantized(model, output, search.options_of(best), search.shared(best))
        except (UsageError, OutputError):
            # It is not for the try that they are raised.
            raise
        except TilewrightError as error:
            search.leave_out(best, error)
        else:
            return best


def divided(every: CalibrationSet, most: int) -> tuple[Held, list[int]]:
    """Samples to calibrate on, and which ones to judge on, both at even distances.
    Raises CalibrationError: there are too few."""
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


def set_apart(given: Held) -> tuple[Held, Held]:
    """What is calibrated on, and what chooses methods; both are all if there are few."""
    apart = {*range(CHOSEN_BY - 1, len(given), CHOSEN_BY)}
    if not apart:
        return given, given
    return given.only([at for at in range(len(given)) if at not in apart]), given.only([*apart])


def _even(places: Sequence[T], count: int) -> list[T]:
    return [places[index * len(places) // count] for index in range(count)]


def is_exported(output: str | os.PathLike[str]) -> bool:
    """Whether an output is for other runtimes."""
    return Path(output).suffix.lower() in (".onnx", ".xml")


def write_quantized(model: Model, output: str | os.PathLike[str], options: CompileOptions, shared: Shared) -> None:
    """Write an artifact, or a file for other runtimes; samples are not looked at again."""
    if not is_exported(output):
        compile_to_file(model, output, replace(options, precision="int8"), shared)
        return
    with warnings.catch_warnings():
        # They are told already.
        warnings.simplefilter("ignore", CalibrationWarning)
        export_by(model, output, options, "qdq", choices=shared.choices)


def write_encodings(path: str | os.PathLike[str], types: Mapping[str, TensorType]) -> None:
    """Activations of these types as AIMET 1.0.0 has them. Raises OutputError: the file cannot be written."""
    entries: list[dict[str, object]] = []
    for name, type in types.items():
        assert type.quant is not None
        limits = np.iinfo(type.dtype.numpy)
        shape = {"name": name, "enc_type": "PER_TENSOR", "dtype": "INT", "bw": limits.bits, "is_sym": is_wide(type)}
        entries.append({**shape, "scale": [type.quant.scale[0]], "offset": [limits.min - type.quant.zero_point[0]]})
    text = json.dumps({"version": "1.0.0", "activation_encodings": entries, "param_encodings": []}, indent=2)
    write_file(path, f"{text}\n".encode())
