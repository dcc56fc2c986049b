"""Two networks compared on data, each as a path or what it holds: ``tilewright.compare``; and samples for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.errors import CalibrationWarning, UsageError, first_of, warn

from ...artifact.artifact import Artifact
from ...compiler import compiler_for
from ...files.input_file import is_url
from ...pictures.inputs import ImageInput, chosen
from ..simulator.input_data import ENDINGS as ARRAYS
from ..simulator.input_data import TYPES, Feeds, InputData, NodeArg
from .measures import Result, compare_values
from .party import ONNXRUNTIME, Party, open_party

if TYPE_CHECKING:
    from ....compiler.frontend.formats import ModelProto
    from ....compiler.frontend.input_shapes import InputShapes


RANDOM = "random"
Data = str | np.ndarray | Mapping[str, np.ndarray]
"""A path, `RANDOM`, or arrays of samples, by the names of inputs where there are several."""

_DTYPES = {name: dtype for dtype, name in TYPES.items()}


def read_samples(
    data: Data,
    inputs: Sequence[NodeArg],
    preprocessing: str | None = None,
    limit: int | None = None,
    images: Mapping[str, ImageInput] | None = None,
    *,
    force: bool = False,
) -> tuple[int, Iterator[tuple[str, Feeds]]]:
    """How many samples there are, and these by name.

    Args:
        data: a folder or file of arrays, as `InputData` reads it; an image or a folder of images; or other samples.
        inputs: of the network that takes them. An extent that the model leaves open is 1 for images and random numbers.
        preprocessing: how images become inputs.
        limit: how many samples there are to be at most.
        images: what is known of how images become inputs, by the names of these.
        force: use the preprocessing that is given even if another is known.

    Raises:
        UsageError: preprocessing is given for arrays.
    """
    if preprocessing is not None and (not isinstance(data, str) or have_shapes(data)):
        found = f"arrays in {data!r}" if isinstance(data, str) else "arrays"
        raise UsageError("preprocessing is for images", found=found, hint="Leave --preprocess out.")
    if isinstance(data, str) and have_shapes(data):
        arrays = InputData(data, inputs)
        return min(len(arrays), limit or len(arrays)), islice(arrays.items(), limit)
    known, flag = images or {}, "--preprocess"
    pairs = ((each.name, chosen(each.name, known, preprocessing, force=force, flag=flag)) for each in inputs)
    declared = {name: found for name, found in pairs if found is not None}
    with compiler_for("images and random numbers as samples"):
        from ....compiler.calibration.dataset import open_calibration_set
        from ....compiler.calibration.sample_sets import unsaid
        from ....ir.types import DType, TensorType

    types = {each.name: TensorType(tuple(_closed(each.shape, (), 1)), DType(_DTYPES[each.type])) for each in inputs}
    found = open_calibration_set(data, types, preprocessing=declared or None, limit=limit)
    for each in unsaid(found, declared):
        warn(each, CalibrationWarning)
    return len(found), ((str(index), sample) for index, sample in enumerate(found))


def _closed(shape: Sequence[int | str | None], other: Sequence[int | str | None], rest: int | None = None) -> list[Any]:
    """A shape with what it leaves open as in the other, of as many extents; where that leaves it open, too, ``rest`` if
    there is one."""
    pairs = zip(shape, other if len(other) == len(shape) else shape, strict=True)
    return [next((each for each in (*pair, rest) if isinstance(each, int)), pair[0]) for pair in pairs]


def have_shapes(data: Data) -> bool:
    """Whether samples are arrays of files, and not made in the shapes of the inputs or for these."""
    if not isinstance(data, str) or data == RANDOM or ("=" in data and not is_url(data) and not os.path.exists(data)):
        return False
    if os.path.isdir(data):
        return any(name.lower().endswith(ARRAYS) and not name.startswith(".") for name in os.listdir(data))
    return data.lower().endswith(ARRAYS) or not os.path.exists(data)


@contextmanager
def opened(
    reference: str | bytes | Artifact,
    network: str | bytes | Artifact | None,
    data: Data | None = None,
    *,
    preprocessing: str | None = None,
    limit: int | None = None,
    input_shapes: InputShapes | None = None,
    encodings: str | None = None,
    reference_encodings: str | None = None,
    force: bool = False,
    freeze: Mapping[str, object] | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Iterator[tuple[Party, Party, int, Iterator[tuple[str, Feeds]]]]:
    """Reference and network, how many samples there are, and these; as for `compare`.
    ``network``: nothing for the reference itself, which onnxruntime then is the reference of.
    ``data``: nothing for random numbers, one sample unless there is a limit."""
    if network is None:
        reference, network = f"{ONNXRUNTIME}{reference}", reference
    if limit is not None and limit < 1:
        raise UsageError("the limit leaves no sample", expected="at least 1", found=limit)
    if data is None:
        limit, data = limit or 1, RANDOM
    freeze, bounds = freeze or {}, bounds or {}
    with ExitStack() as stack:
        first = stack.enter_context(closing(open_party(reference, reference_encodings, freeze, bounds)))
        inputs = first.inputs_in(input_shapes or {})
        second = stack.enter_context(closing(open_party(network, encodings, freeze, bounds)))
        for name in freeze.keys() - {*first.frozen, *second.frozen}:
            raise UsageError("a value is given for an input that neither has", found=name)
        neither = {name: bounds[name] for name in bounds.keys() - {*first.bounds, *second.bounds}}
        for each in (first, second):
            # The import refuses what neither has.
            each.bounds = {**each.bounds, **neither}
        fixed = second.get_inputs() if have_shapes(data) else second.inputs_in({})
        others = {each.name: each.shape for each in fixed}
        inputs = [replace(each, shape=_closed(each.shape, others.get(each.name, ()))) for each in inputs]
        images = {**second.images, **first.images}
        total, samples = read_samples(data, inputs, preprocessing, limit, images, force=force)
        yield first, second, total, _watched(samples)


def _watched(samples: Iterator[tuple[str, Feeds]]) -> Iterator[tuple[str, Feeds]]:
    """The samples, with a warning of the first that makes NaN of what networks compute."""
    is_told = False
    for name, feeds in samples:
        wrong = [each for each, array in feeds.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if wrong and not is_told:
            what = f"sample {name!r} holds NaN or infinity in {first_of(wrong)}, and so may what is computed of it"
            warn(f"{what}: repair such samples, or leave them out, to compare the others", CalibrationWarning)
            is_told = True
        yield name, feeds


def compare(
    reference: str | os.PathLike[str] | bytes | ModelProto | Artifact,
    network: str | os.PathLike[str] | bytes | ModelProto | Artifact,
    data: Data | os.PathLike[str],
    *,
    preprocessing: str | None = None,
    limit: int | None = None,
    input_shapes: InputShapes | None = None,
    encodings: str | None = None,
    reference_encodings: str | None = None,
    force: bool = False,
    freeze: Mapping[str, object] | None = None,
    bounds: Mapping[str, int] | None = None,
    report: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> Result:
    """Compare every value that two networks have; this is ``tilewright.compare``.

    In a notebook the result shows itself as a table, worst first.

    Args:
        reference, network: paths of models (``.onnx``, ``.xml``) or artifacts (``.twa``), ``onnxruntime:`` and the path
            of a model, the contents of an ONNX model, or one that is loaded, as an artifact may be.
        data: a folder or file of arrays or images, ``random``, arrays as ``tilewright.compile`` takes them, or such of
            each input as text: ``left=photos/,right=depth.npy``.
        preprocessing: how images become inputs, as ``tilewright.compile`` takes it.
        limit: use at most so many samples.
        input_shapes: of what the reference leaves open, by the name of an input or of an open extent; without, it is 1
            for images and random numbers. Of an artifact of several shapes, the one that is meant.
        encodings, reference_encodings: how either is quantised: files for ONNX models.
        force: prepare images so even if a network says otherwise.
        freeze, bounds: of models, as ``tilewright.compile`` takes them.
        report: called before each sample with a word, how many are done, and how many there are.

    Raises:
        UsageError: arguments contradict each other.
        InputError, CalibrationError: there is no sample, or it does not fit; or the two have nothing in common.
        TilewrightError: a network cannot be read, compiled or run.
    """
    with opened(
        _held("reference", reference),
        _held("network", network),
        os.fspath(data) if isinstance(data, os.PathLike) else data,
        preprocessing=preprocessing,
        limit=limit,
        input_shapes=input_shapes,
        encodings=encodings,
        reference_encodings=reference_encodings,
        force=force,
        freeze=freeze,
        bounds=bounds,
    ) as (first, second, total, samples):
        return compare_values(first, second, samples, lambda done: report("compare", done, total))


def _held(name: str, source: str | os.PathLike[str] | bytes | ModelProto | Artifact) -> str | bytes | Artifact:
    if isinstance(source, (str, bytes, Artifact)):
        return source
    if isinstance(source, os.PathLike):
        return os.fspath(source)
    if not hasattr(source, "SerializeToString"):
        expected = "a path, the bytes of a model, a ModelProto or an Artifact"
        raise UsageError(f"{name} is no network", expected=expected, found=type(source).__name__)
    return source.SerializeToString()
