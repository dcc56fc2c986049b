"""The runtime: loads an artifact and runs it. Needs NumPy and the standard library only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tilewright.errors import (
    ArtifactError,
    InputError,
    KeyWarning,
    RegenerationWarning,
    RequestCancelledError,
    RequestTimeoutError,
    ResourceError,
    TilewrightError,
    TrustError,
    UsageError,
)

if TYPE_CHECKING:
    from .artifact.artifact import Artifact
    from .artifact.manifest import TensorSpec
    from .profile import Profile, StepProfile
    from .request import Request
    from .session import Session, load

__all__ = ["Artifact", "ArtifactError", "InputError", "KeyWarning", "Profile", "RegenerationWarning", "Request"]
__all__ += ["RequestCancelledError", "RequestTimeoutError", "ResourceError", "Session", "StepProfile", "TensorSpec"]
__all__ += ["TilewrightError", "TrustError", "UsageError", "load"]

# Imported when they are asked for, because NumPy takes most of the time: what the command line says without a network,
# such as help, need not wait for it.
_LATE = {
    "Artifact": ".artifact.artifact",
    "Profile": ".profile",
    "Request": ".request",
    "Session": ".session",
    "StepProfile": ".profile",
    "TensorSpec": ".artifact.manifest",
    "load": ".session",
}

# Type checkers do not see it, so that they report a name that is not there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATE[name], __name__), name)
