"""Networks on the samples of a data set, one at a time."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Union

import numpy as np

from tilewright.errors import InputError, TilewrightError, UsageError

from ...commands.console import progress_bar
from ...compiler import compiler_for
from ...files.output_file import make_folder
from ...report.execution import save_outputs
from .cuda import cuda_sums
from .input_data import STAGE, Feeds, InputData, NodeArg, adapted, fits
from .metrics import METRICS, SumsOf, sums
from .session import ENDING, CompiledNetwork, QuantizationSession, is_for, open_session

Tensors = dict[str, np.ndarray]
"""The values of tensors by name."""

Comparison = dict[str, tuple[bool, dict[str, float]]]
"""By name of the sample: whether all of it passes, and the metric by name of the tensor of the second network."""

Network = Union[QuantizationSession, CompiledNetwork]

RUN = "run inference"
COMPARE = "compare"


def run_on_data(
    model: str, encodings: str | None, data: str | os.PathLike[str], feature_maps: Sequence[str], *, use_cuda: bool
) -> dict[str, Tensors]:
    """By name of the sample: the outputs in the order of the graph, then the feature maps in the order asked.

    Samples are read one at a time; what is returned holds the tensors of all."""
    if use_cuda:
        cuda_sums()
    with closing(_opened(model, encodings, feature_maps)) as session:
        names = list(dict.fromkeys([*session.graph_outputs, *feature_maps]))
        with _reported(RUN, InputData(data, session.get_inputs())) as samples:
            return {name: _run(session, names, feeds, name) for name, feeds in samples}


def compare_on_data(
    models: tuple[str, str],
    encodings: tuple[str | None, str | None],
    data: str | os.PathLike[str],
    pairs: Sequence[tuple[str, str]] | None,
    *,
    metric: str,
    threshold: float,
    export: str | os.PathLike[str] | None = None,
    use_cuda: bool = False,
    quiet: bool = False,
    freeze: Mapping[str, Any] | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Comparison:
    """How far tensors of two networks lie apart on each sample, of which one at a time is in memory.

    Args:
        models: the reference, and what is compared with it.
        encodings: the encodings of both.
        pairs: tensors of both to compare; the outputs if not given.
        metric: a name of `METRICS`.
        export: a folder to write the tensors into as they are computed, ``model_0/SAMPLE.npz`` and ``model_1/…``.
        quiet: show no progress bar.
        freeze, bounds: of models, as ``tilewright.compile`` takes them.
    """
    if twice := named_twice(pairs or ()):
        raise UsageError("tensors of model 1 are to be compared twice", stage=COMPARE, found=", ".join(twice))
    gather: SumsOf = cuda_sums() if use_cuda else sums
    measure = METRICS[metric]
    with ExitStack() as stack:
        sessions: list[Network] = []
        given = _known_to(models, freeze or {}, bounds or {})
        for index, (model, file) in enumerate(zip(models, encodings, strict=True)):
            maps = [pair[index] for pair in pairs or ()]
            sessions.append(stack.enter_context(closing(_opened(model, file, maps, given[index]))))
        pairs = pairs if pairs is not None else _paired_outputs(sessions)
        samples = stack.enter_context(_reported(COMPARE, InputData(data, sessions[0].get_inputs()), quiet=quiet))
        translate = translation(sessions)
        result: Comparison = {}
        for sample, feeds in samples:
            values: dict[str, float] = {}
            ends: list[Tensors] = []
            for index, session in enumerate(sessions):
                names = list(dict.fromkeys(pair[index] for pair in pairs))
                ends.append(_run(session, names, feeds if index == 0 else translate(feeds, sample), sample))
                if export is not None:
                    folder = Path(export) / f"model_{index}"
                    make_folder(folder)
                    save_outputs(folder / f"{sample}.npz", ends[index])
            for pair in pairs:
                reference, test = ends[0][pair[0]], ends[1][pair[1]]
                _check_shapes(reference, test, pair, sample)
                values[pair[1]] = measure.value(gather(reference, test))
            result[sample] = (all(measure.passes(value, threshold) for value in values.values()), values)
        return result


def named_twice(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Tensors of the second network in several pairs, of which a `Comparison` can tell one."""
    return sorted(name for name, count in Counter(name for _, name in pairs).items() if count > 1)


def _run(session: Network, names: Sequence[str], feeds: Feeds, sample: str) -> Tensors:
    """The tensors of these names; an error says on which sample."""
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except TilewrightError as error:
        error.message = f"sample {sample!r}: {error.message}"
        raise


def _known_to(
    models: Sequence[str], freeze: Mapping[str, Any], bounds: Mapping[str, int]
) -> Sequence[Mapping[str, Mapping[str, Any]]]:
    """What each of the models has of values that are frozen, and of bounds. Raises UsageError: none has one."""
    if not freeze and not bounds:
        return [{}] * len(models)
    with compiler_for("values of a model"):
        from ....compiler.frontend.formats import known_names, known_tensors

    open_ones = [None if model.endswith(ENDING) else model for model in models]
    inputs = [known_names(model, freeze) if model else set[str]() for model in open_ones]
    tensors = [known_tensors(model, bounds) if model else set[str]() for model in open_ones]
    for what, given, known in (("value", freeze, inputs), ("bound", bounds, tensors)):
        for name in given.keys() - set[str]().union(*known):
            raise UsageError(f"a {what} is given for what no model has", stage=COMPARE, found=name)
    return [
        {"frozen": {name: freeze[name] for name in own}, "bounds": {name: bounds[name] for name in within}}
        for own, within in zip(inputs, tensors, strict=True)
    ]


def _opened(
    model: str,
    encodings: str | None,
    feature_maps: Sequence[str],
    given: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Network:
    if is_for(model):
        return CompiledNetwork(model, encodings, feature_maps, given.get("frozen"))
    return open_session(model, encodings, feature_maps=feature_maps, **given)


@contextmanager
def _reported(stage: str, samples: InputData, *, quiet: bool = False) -> Iterator[Iterator[tuple[str, Feeds]]]:
    """The samples one by one, and on a terminal a bar that shows how many are done."""
    with progress_bar(quiet=quiet) as report:

        def each() -> Iterator[tuple[str, Feeds]]:
            for done, item in enumerate(samples.items()):
                report(stage, done, len(samples))
                yield item

        yield each()


def _paired_outputs(sessions: Sequence[Network]) -> list[tuple[str, str]]:
    """Outputs of two networks by name where they have the same, otherwise by position."""
    first, second = (list(session.graph_outputs) for session in sessions)
    if len(first) != len(second):
        raise InputError(
            "the models have different numbers of outputs",
            stage=COMPARE,
            expected=f"{len(first)} as model 0: {', '.join(first)}",
            found=f"{len(second)} in model 1: {', '.join(second)}",
            hint="Compare tensors that you name with compare_model_by_layer.",
        )
    return [(name, name) for name in second] if set(first) == set(second) else list(zip(first, second, strict=True))


class HasInputs(Protocol):
    """What samples are for."""

    def get_inputs(self) -> list[NodeArg]:
        """The inputs: name, type and shape."""
        ...


def translation(sessions: Sequence[HasInputs]) -> Callable[[Feeds, str], Feeds]:
    """What makes samples for the first network fit the second, whose inputs have the same names or the same order."""
    first, second = (list(session.get_inputs()) for session in sessions)
    if len(first) != len(second):
        raise _other_inputs(first, second)
    names = {input.name for input in first}
    if names == {input.name for input in second}:
        source = {input.name: input.name for input in second}
    else:
        source = {after.name: before.name for before, after in zip(first, second, strict=True)}

    def translate(feeds: Feeds, sample: str) -> Feeds:
        found: Feeds = {}
        for input in second:
            array = feeds[source[input.name]]
            fixed = [extent for extent in input.shape if isinstance(extent, int)]
            if not fits(array.shape, input.shape) and without_ones(array.shape) != without_ones(fixed):
                raise _other_inputs(first, second)
            found[input.name] = adapted(array, input, f"sample {sample!r}")
        return found

    return translate


def _other_inputs(first: Sequence[NodeArg], second: Sequence[NodeArg]) -> InputError:
    expected, found = (", ".join(f"{input.name} {input.shape}" for input in inputs) for inputs in (first, second))
    return InputError(
        "the models do not take the same samples",
        stage=STAGE,
        expected=f"the inputs of model 0, {expected}",
        found=f"those of model 1, {found}",
    )


def _check_shapes(reference: np.ndarray, test: np.ndarray, names: tuple[str, str], sample: str) -> None:
    """Shapes that differ in dimensions of 1 alone, such as an optimiser adds to reach four, are the same here."""
    if without_ones(reference.shape) != without_ones(test.shape):
        raise InputError(
            f"tensors {names[0]!r} of model 0 and {names[1]!r} of model 1 cannot be compared on sample {sample!r}",
            stage=COMPARE,
            expected=f"the shape of the former, {list(reference.shape)}",
            found=list(test.shape),
            hint="Name tensors that hold the same values in the same layout.",
        )


def without_ones(shape: Sequence[int]) -> list[int]:
    return [extent for extent in shape if extent != 1]
