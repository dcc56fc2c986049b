"""Two networks compared on data, each as a path or what it holds: ``tilewright.compare``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tilewright.errors import UsageError

from ...artifact.artifact import Artifact
from ..simulator.input_data import Feeds
from .measures import Result, compare_values
from .parties import open_party
from .party import ONNXRUNTIME, Party
from .samples import RANDOM, Data, have_shapes, read_samples, with_ones

if TYPE_CHECKING:
    from ....compiler.frontend.formats import ModelProto
    from ....compiler.frontend.input_shapes import InputShapes


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
) -> Iterator[tuple[Party, Party, int, Iterator[tuple[str, Feeds]]]]:
    """Reference and network, how many samples there are, and these; as for `compare`.

    Args:
        network: nothing for the reference itself, which onnxruntime then is the reference of.
        data: nothing for random numbers, one sample unless there is a limit.
    """
    if network is None:
        reference, network = f"{ONNXRUNTIME}{reference}", reference
    if limit is not None and limit < 1:
        raise UsageError("the limit leaves no sample", expected="at least 1", found=limit)
    if data is None:
        limit, data = limit or 1, RANDOM
    with ExitStack() as stack:
        first = stack.enter_context(closing(open_party(reference, reference_encodings)))
        inputs = first.inputs_in(input_shapes or {})
        if not have_shapes(data):
            inputs = [replace(each, shape=[*with_ones(each)]) for each in inputs]
        second = stack.enter_context(closing(open_party(network, encodings)))
        images = {**second.images, **first.images}
        total, samples = read_samples(data, inputs, preprocessing, limit, images, force=force)
        yield first, second, total, samples


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
    report: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> Result:
    """Compare every value that two networks have; this is ``tilewright.compare``.

    In a notebook the result shows itself as a table, worst first.

    Args:
        reference, network: paths of models (``.onnx``, ``.xml``) or artifacts (``.twa``), ``onnxruntime:`` and the path
            of a model, the contents of an ONNX model, or one that is loaded, as an artifact may be.
        data: a folder or file of arrays or images, ``random``, or arrays as ``tilewright.compile`` takes them.
        preprocessing: how images become inputs, as ``tilewright.compile`` takes it.
        limit: use at most so many samples.
        input_shapes: of what the reference leaves open, by the name of an input or of an open extent; without, it is 1
            for images and random numbers. Of an artifact of several shapes, the one that is meant.
        encodings, reference_encodings: how either is quantised: files for ONNX models.
        force: prepare images so even if an artifact says otherwise.
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
