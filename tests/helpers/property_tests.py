"""hypothesis, with the same examples in each run, however busy the machine is.

Tests import it from here, those that use it alone: it takes half a second, and most runs while working need none of it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

__all__ = ["given", "settings", "st"]
