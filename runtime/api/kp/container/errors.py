"""What is wrong with containers of models."""

from __future__ import annotations

from tilewright.errors import ArtifactError

STAGE = "read container"

COMMAND = "tilewright compile MODEL -o OUT.nef --kp-id ID"
"""What makes containers."""


class ContainerError(ArtifactError):
    """A container of models is damaged, or holds what cannot run here."""


def damaged(what: str, expected: object = None, found: object = None) -> ContainerError:
    """The error of a container whose bytes contradict each other."""
    hint = f"Copy it again, or make it anew: {COMMAND}."
    message = f"the container of models is damaged: {what}"
    return ContainerError(message, stage=STAGE, expected=expected, found=found, hint=hint)


def foreign(what: str) -> ContainerError:
    """The error of a container that something else has made."""
    hint = f"Make one of the model that it was compiled from: {COMMAND}."
    return ContainerError(
        f"{what}, and holds instructions for its own processor, which cannot be executed here",
        stage=STAGE,
        expected="a container made by tilewright compile",
        hint=hint,
    )
