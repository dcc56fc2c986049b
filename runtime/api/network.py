"""Which engine computes what a documented interface stands for, and where its integers' ranges come from.

Calls that stand for the accelerator compute the integers of the device program. The engine ``software`` does, on this
processor, byte for byte as the device would; ``TILEWRIGHT_ENGINE=device`` asks for the simulator of the device's
instructions instead, and ``float`` for the network as it was before quantisation.

Most programs hand over a network in floating point. The ranges of its values come from the first of these:

1. the model itself, where it is quantised already;
2. the samples that the interface has a place for;
3. ``TILEWRIGHT_CALIBRATION``: a folder of images, or a ``.npy``, ``.npz``, ``.csv`` or ``.wav`` file of inputs; or the
   word ``bounds``, for integers of 16 bits with ranges that hold for any image;
4. the picture that the call names;
5. in the Accelerator API and on ``FPGA`` of the Inference Engine API, whose cards computed in 16 bits, the same as for
   ``bounds``, where the inputs can be pictures and the network has bounds. Inputs with numbers that pictures do not
   become are computed in floating point.

With none of them the network is computed in floating point on CPU kernels: integers with ranges from invented data are
never the default. A network with nothing to quantise is computed in floating point as well. Where there are no ranges,
or those of one picture or of all pictures, one `CalibrationWarning` for each model says how to give samples.

How often integers and floating point name the same best class, of 100 photos:

| ranges from | mobilenet_v2 | mobilenet_v1_0.25 |
|---|---|---|
| fifty photos | 97 % to 99 % | 92 % to 94 % |
| one photo, depending on which | 29 % to 98 % | 1 % to 92 % |
| noise with the spectrum of photos | 72 % | |
| plain noise | 16 % to 22 % | |

The higher figures for fifty photos are those of images that become inputs as they did in training.

Images become inputs as the SDKs' own samples make them: stretched to the size of the input, RGB, divided by 255, and
normalised by the mean (0.485, 0.456, 0.406) and the standard deviation (0.229, 0.224, 0.225) of ImageNet.
``TILEWRIGHT_PREPROCESS`` says otherwise, in the words of ``tilewright compile --preprocess``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tilewright.errors import (
    CalibrationError,
    CalibrationWarning,
    NoCalibrationError,
    NothingToQuantizeError,
    UsageError,
    warn,
)

from ..artifact.artifact import Artifact
from ..artifact.manifest import ENGINES
from ..compiler import compiler_for
from ..files.input_file import SAMPLE_FILES
from ..machines import machine as machines
from ..pictures.preprocessing import Preprocessing
from ..report.details import details_of
from ..session import Session, load
from ..waiting import Guard

if TYPE_CHECKING:
    from ...compiler.frontend.ir.document import Document

ENGINE, CALIBRATION, PREPROCESS = "TILEWRIGHT_ENGINE", "TILEWRIGHT_CALIBRATION", "TILEWRIGHT_PREPROCESS"
"""The environment variables."""

PREPROCESSING: Mapping[str, object] = {
    "resize": "stretch",
    "mean": tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
    "scale": tuple(1 / (255 * deviation) for deviation in (0.229, 0.224, 0.225)),
}
"""What images become unless the environment or the interface says otherwise."""

BOUNDS = "bounds"
"""The word for ranges without samples."""

QUEUE = 2**16
"""Runs that may wait in a session; the interfaces themselves bound what they accept."""

_FLOAT, _WHAT = "float", "compiling a model"


Model: TypeAlias = "str | os.PathLike[str] | bytes | Document"
Sample = np.ndarray | Mapping[str, np.ndarray]
Samples = str | os.PathLike[str] | Sample | Iterable[Sample]

_warned: set[str] = set()


def prepare(
    model: Model,
    *,
    samples: Samples | None = None,
    picture: str | os.PathLike[str] | None = None,
    preprocessing: Mapping[str, object] | str | None = None,
    machine: str | os.PathLike[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    output: str | os.PathLike[str] | None = None,
    samples_by: str | None = None,
    takes_pictures: bool = False,
    called: str | None = None,
    affinity: Mapping[str, str] | None = None,
    clusters: int = 1,
    **options: object,
) -> Artifact:
    """Compile a model for the accelerator, with ranges by the rule above.

    Args:
        model: the path or the contents of an ONNX model, or a network of IR.
        samples: what the interface was given for calibration, in any form that ``tilewright.compile`` takes.
        picture: a picture that the call names for another purpose. It does not count where it does not fit the network.
        preprocessing: how images become inputs, by default `PREPROCESSING`.
        machine: the accelerator, by the name or the path of its description; by default that of the compiler.
        input_shapes: the shapes of inputs that the model leaves open.
        output: the file to write; without it the artifact stays in memory.
        samples_by: how programs give samples through this interface, such as ``samples= of Compile``, for the warning.
        takes_pictures: inputs that can be pictures are, where nothing tells ranges, so that integers of 16 bits can do.
        called: the path of a model that is given by its contents, for the warning.
        affinity, clusters: as in ``tilewright.compile``; without a meaning in floating point.
        options: further ones of ``tilewright.compile``.

    Raises:
        CalibrationError: the samples, or what ``TILEWRIGHT_CALIBRATION`` names, are missing or wrong.
    """
    with compiler_for(_WHAT):
        from ...compiler.driver import compile_model

    given = {"input_shapes": input_shapes, "output": output, **options}
    if machine is not None:
        # Floating point takes none, and would not notice that the description is wrong.
        machines.load(os.fspath(machine))
    source, origin = samples, None
    if source is None:
        source, origin = os.environ.get(CALIBRATION) or None, CALIBRATION
    if source is None:
        source, origin = picture, None
    placed = {"affinity": affinity, "machine": machine, "clusters": clusters}

    def in_integers(source: Samples | None) -> Artifact:
        wide = {"wide": ("all",), "methods": "additions"} if _is_bounds(source) else {}
        ranges = {"calibration": source, "preprocessing": _preprocessing(source, preprocessing)}
        return compile_model(model, precision="int8", engines=ENGINES, **ranges, **placed, **given, **wide)

    try:
        artifact = in_integers(source)
    except NothingToQuantizeError:
        return compile_model(model, precision="fp32", **given)
    except NoCalibrationError:
        reason = "nothing tells the ranges of its values"
        try:
            artifact = in_integers(BOUNDS) if takes_pictures else None
        except CalibrationError as error:
            is_given = preprocessing is not None or os.environ.get(PREPROCESS)
            usual = "" if is_given else f" with ImageNet's mean and scale, in place of which {PREPROCESS} gives others"
            reason += f", and none hold for all pictures{usual} ({error.message})"
        else:
            if artifact is not None:
                what = "is computed in integers of 16 bits, with ranges that hold for all pictures as inputs"
                _warn_once(called or model, what, samples_by)
                return artifact
    except CalibrationError as error:
        if picture is None or source is not picture:
            error.stage = origin or error.stage
            raise
        reason = f"{os.fspath(picture)!r} gives no ranges ({error.message})"
    else:
        # The artifact knows how images were used, unless the model has ranges of its own.
        images = details_of(artifact).images or {}
        if picture is not None and source is picture and any(each.calibrated for each in images.values()):
            what = f"has its ranges from one picture, {os.fspath(picture)!r}, and may fail on others"
            _warn_once(called or model, what, samples_by)
        return artifact
    what = f"is computed in floating point on the processor, not in the accelerator's integers: {reason}"
    _warn_once(called or model, what, samples_by)
    return compile_model(model, precision="fp32", **given)


def ranges_of_pictures(artifact: Artifact) -> dict[str, tuple[float, float]]:
    """The range of each input of which ranges without samples take for granted that it is a picture, by name; none
    where there is no engine in floating point for inputs beyond."""
    if _FLOAT not in artifact.manifest.engines:
        return {}
    details = details_of(artifact)
    wide = {name for each in details.layers if each.op == "quantize" and each.dtype == "i16" for name in each.operands}
    images = details.images or {}
    return {name: images[name].read(name).range() for name in sorted(wide & {*images}) if not images[name].calibrated}


def _preprocessing(source: Samples | None, preprocessing: Mapping[str, object] | str | None) -> object:
    """How images become inputs, where the samples are images."""
    with compiler_for(_WHAT):
        from ...compiler.calibration.dataset import are_images
    if not are_images(source) and not _is_bounds(source):
        return None
    text = os.environ.get(PREPROCESS)
    if not text:
        return PREPROCESSING if preprocessing is None else preprocessing
    try:
        return Preprocessing.of(text)
    except UsageError as error:
        error.stage = PREPROCESS
        raise


def _is_bounds(source: Samples | None) -> bool:
    return isinstance(source, str) and source == BOUNDS


def _warn_once(model: Model, what: str, samples_by: str | None) -> None:
    if isinstance(model, bytes):
        name = f"the model of {len(model)} bytes"
        key = sha256(model).hexdigest()
    elif isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        key = os.path.abspath(name)
    else:
        name = f"network {model.name!r}"
        key = f"{model.name} {model.digest}"
    if key in _warned:
        return
    _warned.add(key)
    ways = f"{CALIBRATION}=FOLDER of images, or {SAMPLE_FILES} of inputs" + (
        f"; or by {samples_by}" if samples_by else ""
    )
    warn(f"{name} {what}. Give samples of its inputs: {ways}", CalibrationWarning)


def accelerator_engine(artifact: Artifact) -> str:
    """The engine for calls that stand for the accelerator: ``software``, or what ``TILEWRIGHT_ENGINE`` says.

    Of a network that stayed in floating point, it is ``float`` whatever was asked for.
    Raises UsageError: ``TILEWRIGHT_ENGINE`` names no engine."""
    asked = os.environ.get(ENGINE) or "software"
    if asked not in ENGINES:
        raise UsageError("unknown engine", stage=ENGINE, expected=" or ".join(ENGINES), found=repr(asked))
    return next(name for name in (asked, "software", "device", "float") if name in artifact.manifest.engines)


_MARGIN = 1e-3
"""What numbers may be beyond the range of pictures, as a part of it, by how programs round."""


class Sessions:
    """Sessions of an artifact, one for each engine that has been asked for.

    Args:
        artifact: what they run.
        engine: what computes unless something else is said.
        changed: what engines are loaded from that have other weights.
        workers, threads: of each session, see :func:`open_session`.
    """

    def __init__(
        self,
        artifact: Artifact,
        engine: str,
        changed: Mapping[str, Artifact] | None = None,
        *,
        workers: int = 1,
        threads: int | None = None,
    ) -> None:
        self.artifacts = dict.fromkeys(artifact.manifest.engines, artifact) | {**(changed or {})}
        self.engine = engine
        self._options = {"workers": workers, "threads": threads}
        self._within = ranges_of_pictures(artifact)
        self._told = False
        self._guard = Guard()
        self._open: dict[str, Session] = {}
        self.by(engine)

    def by(self, engine: str) -> Session:
        """The session for an engine; where there are no integers, the one in floating point."""
        chosen = next(name for name in (engine, "software", _FLOAT) if name in self.artifacts)
        with self._guard.lock:
            if chosen not in self._open:
                self._open[chosen] = open_session(self.artifacts[chosen], chosen, **self._options)
            return self._open[chosen]

    def of(self, inputs: Mapping[str, np.ndarray], engine: str | None = None) -> Session:
        """The session that computes these inputs: that of an engine, by default `engine`, or where ranges that hold for
        pictures do not hold for them the one in floating point."""
        engine = engine or self.engine
        for name, (low, high) in self._within.items() if engine != _FLOAT else ():
            array, margin = inputs[name], _MARGIN * (high - low)
            least, most = (float(each) for each in (array.min(), array.max()))
            if low - margin <= least and most <= high + margin:
                continue
            if not self._told:
                self._told = True
                warn(
                    f"input {name!r} has numbers from {least:.4g} to {most:.4g}, but pictures become {low:.4g} to "
                    f"{high:.4g}: what is beyond is computed in floating point. {CALIBRATION} gives other ranges, "
                    f"{PREPROCESS} what becomes of pixels",
                    CalibrationWarning,
                )
            return self.by(_FLOAT)
        return self.by(engine)

    def close(self) -> None:
        """End what waits, and the workers."""
        with self._guard.lock:
            sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.close()


def open_session(
    artifact: Artifact, engine: str | None = None, *, workers: int = 1, queue: int = QUEUE, threads: int | None = None
) -> Session:
    """A session for an interface.

    Args:
        artifact: what it runs.
        engine: by default the one for calls that stand for the accelerator; ``float`` for those that stand for floating
            point, if the artifact holds it.
        workers: how many runs are computed at once.
        queue: how many further ones may wait.
        threads: how many compute one run, as for `load`.
    """
    return load(artifact, engine=engine or accelerator_engine(artifact), threads=threads, workers=workers, queue=queue)
