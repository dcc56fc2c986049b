"""Which of the shapes of an artifact is meant, by inputs and by names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tilewright.errors import InputError, TilewrightError, UsageError, similar

from ..artifact.artifact import Artifact
from ..artifact.manifest import TensorSpec
from .buffers import check_names
from .padding import Extents, Fit, Padding

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
        self.padding = Padding(views, pad)
        self._specs = [view.manifest.inputs for view in views]
        self.shapes = tuple({spec.name: spec.shape for spec in specs} for specs in self._specs)
        self._numbers = {tuple(shapes.values()): number for number, shapes in enumerate(self.shapes)}

    def fit(self, shapes: Mapping[str, Extents]) -> Fit:
        """The shape that inputs have, or are to be padded to.

        Args:
            shapes: by the name of the input.

        Raises:
            InputError: a name is unknown or missing, or no shape fits; lists those that there are.
        """
        check_names(shapes, self._specs[0])
        found = tuple(shapes[spec.name] for spec in self._specs[0])
        number = self._numbers.get(found)
        fit = self.padding.fit(found) if number is None else Fit(number, {})
        if fit is None:
            raise _unfit(self.shapes, shapes)
        return fit

    def specs(self, number: int) -> Sequence[TensorSpec]:
        """The inputs in a shape."""
        return self._specs[number]


def _unfit(known: Sequence[Mapping[str, Extents]], found: Mapping[str, Extents]) -> InputError:
    """The error for inputs that have none of the shapes."""
    return InputError(
        "the artifact has no shape that fits the inputs",
        expected=_listed([shape_text(shapes) for shapes in known]),
        found=shape_text({name: found[name] for name in known[0]}),
        hint="Compile the model with --input-shape for this shape as well, or see --pad of tilewright run.",
    )


def _listed(texts: Sequence[str]) -> str:
    rest = len(texts) - _SHOWN
    return ", or ".join([*texts[:_SHOWN], *([f"{rest} more" if rest > 1 else "another"] if rest > 0 else [])])


def shape_named(artifact: Artifact, given: Mapping[str, Extents]) -> Artifact:
    """The artifact in the first of its shapes that has what is given.

    Args:
        given: by the name of an input its shape, by the name of an open extent what it is.

    Raises:
        UsageError: there is no such name or no such shape; says which there are.
    """
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
