"""The runtime: loads an artifact and runs it. Needs NumPy and the standard library only."""

from tilewright.errors import (
    ArtifactError,
    InputError,
    KeyWarning,
    RegenerationWarning,
    RequestCancelledError,
    RequestTimeoutError,
    TilewrightError,
    TrustError,
    UsageError,
)

from .artifact.artifact import Artifact
from .artifact.manifest import TensorSpec
from .profile import Profile, StepProfile
from .request import Request
from .session import Session, load

__all__ = [
    "Artifact",
    "ArtifactError",
    "InputError",
    "KeyWarning",
    "Profile",
    "RegenerationWarning",
    "Request",
    "RequestCancelledError",
    "RequestTimeoutError",
    "Session",
    "StepProfile",
    "TensorSpec",
    "TilewrightError",
    "TrustError",
    "UsageError",
    "load",
]
