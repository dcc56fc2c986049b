"""What is said where a kernel refuses its operands: which step it is, and which value is wrong."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from tilewright.errors import ArtifactError, InputError

from ..artifact.artifact import Artifact
from ..artifact.checked import checked_values
from ..artifact.manifest import InnerStep, StepInfo
from .buffers import Buffers

_HINTS = {
    "bounded": "An extent that follows from the data has another value than the node allows.",
    "refuse": "The branch that they choose does not fit the shapes that the network was compiled for.",
    "loop": "It takes more steps than its results have room for.",
}
"""What is wrong with the operands of operators that take no indices."""


def refusal(artifact: Artifact, program: str, number: int, buffers: Buffers) -> InputError:
    """The error for a step of a CPU program, by its number: those of bodies follow the others."""
    entry = artifact.manifest.cpu_programs[program]
    steps: list[StepInfo | InnerStep] = [*entry.steps, *entry.inner]
    step = steps[number]
    function = f", in the function {step.function!r}" if isinstance(step, InnerStep) else ""
    error = InputError(
        f"the values that reach it are out of its range{function}",
        stage=f"step {step.name!r}",
        op=step.op,
        node=", ".join(step.loc) or None,
        hint=_HINTS.get(step.op, "Look for indices that are out of range in the inputs."),
    )
    # What the details say of memory nobody has checked, and without them the step is named all the same.
    with suppress(ArtifactError, LookupError, StopIteration, TypeError, ValueError):
        error.expected, error.found = _wrong_value(artifact, program, number, buffers)
    return error


def _wrong_value(artifact: Artifact, program: str, step: int, buffers: Buffers) -> tuple[str, str]:
    """What was expected of the first value of a step that is wrong, and what and where it is.

    Raises:
        ArtifactError, LookupError, StopIteration, TypeError, ValueError: nothing, or nonsense, is known of it.
    """
    checked = next(each for each in checked_values(artifact, program) if each.step == step)
    values = buffers.view(checked.values)
    limits = list(zip(checked.least, checked.most, strict=True))
    least, most = np.array(limits if len(limits) > 1 else limits[0]).T
    place = tuple(np.argwhere((values < least) | (values > most))[0].tolist())
    expected = limits[place[-1] if len(limits) > 1 else 0]
    where = f" at {list(place)}" if place else ""
    return f"{expected[0]} to {expected[1]}", f"{values[place]}{where}"
