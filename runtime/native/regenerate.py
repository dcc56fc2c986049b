"""The one door from the runtime to code generation, for artifacts whose native code cannot or must not run here."""

from __future__ import annotations

import importlib

from tilewright.errors import ArtifactError

from ..artifact.artifact import Artifact


def regenerate(artifact: Artifact, program: str, reason: str, error: type[ArtifactError]) -> tuple[bytes, int]:
    """Object code for this machine, generated from the module text that the artifact holds, and its bytes of arena.

    ``tilewright.codegen.package.regenerate(artifact, program)`` does the work. Its object exports the same entry point
    with the same steps, and stays within that arena, the constants, inputs and outputs that the manifest states,
    whatever the module text claims.

    Args:
        reason: why the code in the artifact does not run, for the message.
        error: what to raise where the compiler is not installed.

    Raises:
        ArtifactError: of type `error`, when the compiler or a package that it needs is not installed.
        TilewrightError: the module text is wrong.
    """
    try:
        package = importlib.import_module("...codegen.package", __package__)
    except ImportError as missing:
        raise error(
            f"the native code of {artifact.origin} does not run here: {reason}; generating it again needs the "
            f"compiler, which lacks {missing.name or missing}",
            stage="load native code",
            hint="Install it with: pip install 'tilewright[compiler]', or compile the model on this machine.",
        ) from missing
    return package.regenerate(artifact, program)
