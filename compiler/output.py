"""Whether a result can be written, found out before the work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from tilewright.errors import UsageError

from ..runtime.artifact.container import check_writable


def check_output(model: object, output: str | os.PathLike[str]) -> None:
    """Refuse an artifact that cannot be written, or that would replace the model.

    Args:
        model: a path; anything else is no file.

    Raises:
        UsageError: the output is the model.
        ArtifactError: the folder is missing or read-only, or the output is a folder.
    """
    check_writable(output)
    check_apart(model, output)


def check_apart(model: object, output: str | os.PathLike[str]) -> None:
    """As :func:`check_output`, for an output of any kind that may not be writable."""
    if not isinstance(model, (str, os.PathLike)) or not Path(output).exists() or not Path(model).exists():
        return
    if Path(output).samefile(Path(model)):
        hint = "Choose another --output."
        raise UsageError("the output would replace the model", found=os.fspath(output), hint=hint)
