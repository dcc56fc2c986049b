"""The versions that the Inference Engine API tells."""

from __future__ import annotations

from typing import NamedTuple

import tilewright

MAJOR, MINOR = 1, 2
"""Of the interface to plugins in release 2018 R3."""


class Version(NamedTuple):
    """The version of a plugin."""

    major: int
    minor: int
    build_number: str
    description: str


def build_number() -> str:
    """What this build is called."""
    return f"tilewright_{tilewright.__version__}"


def get_version() -> str:
    """The version of the API and of this build: ``major.minor.build``."""
    return f"{MAJOR}.{MINOR}.{build_number()}"
