"""Which of the shapes of an artifact is meant, by inputs and by names; and inputs that have none of them, padded with
zeros to one of them, and its outputs cut back.

Which dimensions have an open extent follows from the shapes: those that are what the extent is in every one of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError, TilewrightError, UsageError, similar

from ..artifact.artifact import Artifact
from ..artifact.manifest import TensorSpec
from .buffers import check_names, check_type

Extents = tuple[int, ...]
_Series = tuple[int, ...]
"""What an extent is in each shape; extents that are equal in all shapes are one."""
_Dimensions = tuple[_Series | None, ...]
"""For each dimension of a tensor the extent that may be padded there; empty without any."""


class Fit(NamedTuple):
    """A shape for inputs, and what is given of the extents that may be padded."""

    number: int
    given: Mapping[_Series, int]


class Padding:
    """What may be padded of an artifact of several shapes, and which dimensions that concerns.
    ``views``: the artifact in each of its shapes.
    ``names``: of the open extents along which inputs may be padded.
    Raises UsageError: there is no such extent, or nothing tells what of an output would belong to the padding."""

    def __init__(self, views: Sequence[Artifact], names: Sequence[str]) -> None:
        self._manifests = [view.manifest for view in views]
        known = {name: tuple(view.extents.get(name, -1) for view in views) for name in views[0].extents}
        known = {name: series for name, series in known.items() if -1 not in series and len(set(series)) > 1}
        for name in names:
            if name not in known:
                raise UsageError(
                    f"{name!r} is no open extent in which the shapes of {views[0].origin} differ",
                    expected=" or ".join(known) or "several shapes",
                    hint=similar(name, known) or "Compile the model for some, such as --input-shape batch=1,4,8.",
                )
        padded = {known[name] for name in names}
        inputs, outputs = ([getattr(each, kind) for each in self._manifests] for kind in ("inputs", "outputs"))
        self._inputs = [_dimensions(specs, padded) for specs in zip(*inputs, strict=True)]
        self._outputs = [_dimensions(specs, padded) for specs in zip(*outputs, strict=True)]
        self._alike: dict[tuple[Extents, ...], list[int]] = {}
        for number, manifest in enumerate(self._manifests):
            self._alike.setdefault(self._fixed([spec.shape for spec in manifest.inputs]), []).append(number)
        if names:
            self._check_outputs(" and ".join(names))

    def _fixed(self, shapes: Sequence[Extents]) -> tuple[Extents, ...]:
        """What no padding changes of the inputs' shapes."""
        return tuple(_without(shape, dimensions) for shape, dimensions in zip(shapes, self._inputs, strict=True))

    def _check_outputs(self, names: str) -> None:
        for index, dimensions in enumerate(self._outputs):
            for numbers in self._alike.values():
                # One shape alone does not show what of an output follows from the extent.
                compared = numbers if len(numbers) > 1 else range(len(self._manifests))
                specs = [self._manifests[number].outputs[index] for number in compared]
                fixed = _without(specs[0].shape, dimensions)
                cannot = [spec for spec in specs if spec.counts or _without(spec.shape, dimensions) != fixed]
                if cannot:
                    raise UsageError(
                        f"output {specs[0].name!r} cannot be cut back: nothing tells what of it belongs to the padding",
                        expected=f"dimensions that are {names}, or the same whatever that is",
                        found=" and ".join(dict.fromkeys(map(str, (specs[0], cannot[0])))),
                        hint="Give inputs of a shape that the artifact has.",
                    )

    def fit(self, shapes: Sequence[Extents]) -> Fit | None:
        """The smallest shape that holds inputs of these shapes, in the order of the artifact's; None without any."""
        given: dict[_Series, int] = {}
        for shape, dimensions in zip(shapes, self._inputs, strict=True):
            for extent, series in zip(shape, dimensions, strict=False):
                if series is not None and given.setdefault(series, extent) != extent:
                    return None
        numbers = self._alike.get(self._fixed(shapes), ())
        holding = [number for number in numbers if all(series[number] >= given[series] for series in given)]
        if not holding:
            return None
        return Fit(min(holding, key=lambda each: sum(spec.bytes for spec in self._manifests[each].inputs)), given)

    def padded(self, inputs: Mapping[str, np.ndarray], fit: Fit) -> dict[str, np.ndarray]:
        """The inputs with zeros behind them. Raises InputError: an array has another dtype than the network takes."""
        found = dict(inputs)
        for spec in self._manifests[fit.number].inputs:
            array = np.asarray(inputs[spec.name])
            check_type(array.dtype, spec.shape, spec)
            if array.shape != spec.shape:
                found[spec.name] = np.zeros(spec.shape, spec.numpy)
                found[spec.name][tuple(map(slice, array.shape))] = array
        return found

    def cut(self, outputs: Mapping[str, np.ndarray], fit: Fit) -> dict[str, np.ndarray]:
        """The outputs without what the padding gave."""
        found = dict(outputs)
        for (name, array), dimensions in zip(outputs.items(), self._outputs, strict=True):
            if dimensions:
                ends = (None if series is None else fit.given.get(series) for series in dimensions)
                found[name] = np.ascontiguousarray(array[tuple(map(slice, ends))])
        return found


def _dimensions(specs: Sequence[TensorSpec], padded: set[_Series]) -> _Dimensions:
    """The dimensions of a tensor, which these are in each shape."""
    if len({len(spec.shape) for spec in specs}) > 1:
        return ()
    found = tuple(series if series in padded else None for series in zip(*(spec.shape for spec in specs), strict=True))
    return found if any(found) else ()


def _without(shape: Extents, dimensions: _Dimensions) -> Extents:
    """A shape with -1 for extents that may be padded."""
    if len(dimensions) != len(shape):
        return shape
    return tuple(extent if series is None else -1 for extent, series in zip(shape, dimensions, strict=True))


_SHOWN = 8
"""Shapes that a message lists."""


class ShapeTable:
    """The shapes of a network, by those of its inputs.

    Args:
        views: the artifact in each shape, as `Artifact.in_shapes` gives them.
        pad: the names of open extents along which inputs may be padded.

    Attributes:
        shapes: of each, the shapes of the inputs by name.
        padding: what is padded.

    Raises:
        UsageError: as `Padding`.
    """

    def __init__(self, views: Sequence[Artifact], pad: Sequence[str]) -> None:
        self.padding, self._pads = Padding(views, pad), bool(pad)
        self._specs = [view.manifest.inputs for view in views]
        self.shapes = tuple({spec.name: spec.shape for spec in specs} for specs in self._specs)
        self._numbers = {tuple(shapes.values()): number for number, shapes in enumerate(self.shapes)}

    def fit(self, shapes: Mapping[str, Extents]) -> Fit:
        """The shape that inputs have, or are to be padded to.
        Raises InputError: a name is unknown or missing, or no shape fits; lists those that there are."""
        check_names(shapes, self._specs[0])
        found = tuple(shapes[spec.name] for spec in self._specs[0])
        number = self._numbers.get(found)
        fit = self.padding.fit(found) if number is None else Fit(number, {})
        if fit is None:
            raise _unfit(self.shapes, shapes, pads=self._pads)
        return fit

    def specs(self, number: int) -> Sequence[TensorSpec]:
        """The inputs in a shape."""
        return self._specs[number]


def _unfit(known: Sequence[Mapping[str, Extents]], found: Mapping[str, Extents], *, pads: bool) -> InputError:
    """The error for inputs that have none of the shapes; of one input alone, where that has a shape of none of them and
    nothing is padded."""
    wrong = [name for name in known[0] if not pads and all(found[name] != shapes[name] for shapes in known)][:1]
    wrong = wrong or [*known[0]]
    return InputError(
        "the artifact has no shape that fits the inputs",
        expected=_listed([*dict.fromkeys(shape_text({name: shapes[name] for name in wrong}) for shapes in known)]),
        found=shape_text({name: found[name] for name in wrong}),
        hint="Compile the model with --input-shape for this shape as well, or see --pad of tilewright run.",
    )


def _listed(texts: Sequence[str]) -> str:
    rest = len(texts) - _SHOWN
    return ", or ".join([*texts[:_SHOWN], *([f"{rest} more" if rest > 1 else "another"] if rest > 0 else [])])


def shape_named(artifact: Artifact, given: Mapping[str, Extents]) -> Artifact:
    """The artifact in the first of its shapes that has what is given.
    ``given``: by the name of an input its shape, by the name of an open extent what it is.
    Raises UsageError: there is no such name or no such shape; says which there are."""
    views = artifact.in_shapes()
    for view in views:
        inputs = {spec.name: spec.shape for spec in view.manifest.inputs}
        known = {**{name: (extent,) for name, extent in view.extents.items()}, **inputs}
        for name in given:
            if name not in known:
                expected, hint = ", ".join(known), similar(name, known)
                what = f"{artifact.origin} has no such input or extent"
                raise UsageError(what, expected=expected, found=name, hint=hint)
        if all(known[name] == tuple(extents) for name, extents in given.items()):
            return view
    found = " ".join(f"{name}={','.join(map(str, extents))}" for name, extents in given.items())
    raise UsageError(f"{artifact.origin} has no such shape", expected=_listed(list(map(shape_of, views))), found=found)


@contextmanager
def naming_shape(artifact: Artifact, shapes: int) -> Iterator[None]:
    """Errors that arise inside say which of so many shapes of an artifact they are about."""
    try:
        yield
    except TilewrightError as error:
        if shapes > 1:
            error.message = f"in shape {shape_of(artifact)}, {error.message}"
        raise


def shape_of(artifact: Artifact) -> str:
    """The shape of an artifact, or of a view of it, in one line."""
    return shape_text({spec.name: spec.shape for spec in artifact.manifest.inputs})


def shape_text(shapes: Mapping[str, Extents]) -> str:
    """Shapes of inputs in one line."""
    return " and ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in shapes.items())
