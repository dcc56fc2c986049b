"""Device programs that grow too long."""

from __future__ import annotations

import pytest

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.errors import ResourceError
from tilewright.limits import DEVICE_INSTRUCTIONS, Limit


def test_a_program_stops_growing_where_no_simulator_would_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_digits()
    samples = digits.prepare(digits.calibration_images[:2])
    monkeypatch.setattr(
        "tilewright.passes.device.lowering.program.DEVICE_INSTRUCTIONS", Limit(5, DEVICE_INSTRUCTIONS.what)
    )
    with pytest.raises(ResourceError) as caught:
        tilewright.compile(MODEL, calibration=samples)
    assert str(caught.value) == (
        "device code: conv: node 'stem, stem_relu': the device program is too long; expected at most 5 "
        "instructions of a device program. "
        "Keep its largest operators on the CPU with --affinity."
    )
