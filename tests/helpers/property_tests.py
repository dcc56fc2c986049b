"""hypothesis, with the same examples in each run, however busy the machine is and whatever ran before.

Tests import it from here, those that use it alone: it takes half a second, and most runs while working need none of it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

# Numbers and texts of whatever modules other tests have imported would be among the examples; and to look for them in
# all of these takes seconds.
if hasattr(providers, "_get_local_constants") and hasattr(providers, "_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

__all__ = ["given", "settings", "st"]
