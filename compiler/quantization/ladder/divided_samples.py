"""Which of the samples are calibrated on, which choose methods, and which judge."""

from collections.abc import Sequence

from tilewright.errors import CalibrationError

from ...calibration.sample_sets import CalibrationSet, Held, hold

CALIBRATED = 100
"""Samples that are calibrated on unless the options say how many."""

JUDGED = 500
"""Samples that are judged on, at most."""

HELD = 2**30
"""Bytes of samples that are judged on, at most, but for one of them."""

CHOSEN_BY = 4
"""One sample in so many is not calibrated on, but chooses methods: what suits those is not what suits others."""


def divided(every: CalibrationSet, most: int) -> tuple[Held, list[int]]:
    """Samples to calibrate on, and which ones to judge on, both at even distances.

    Raises:
        CalibrationError: there are too few.
    """
    total = len(every)
    count = min(most, total * 2 // 3)
    if count < 1:
        raise CalibrationError(
            "there are too few samples to calibrate on some and judge on others",
            stage="quantize",
            expected="at least 2, better 100 and more",
            found=total,
            hint="`tilewright compile --calibration` calibrates on all there are, and judges nothing.",
        )
    chosen = _even(range(total), count)
    used = hold(every, chosen)
    size = sum(array.nbytes for array in used.samples[0].values())
    others = sorted({*range(total)} - {*chosen})
    return used, _even(others, min(JUDGED, len(others), max(1, HELD // size)))


def set_apart(given: Held) -> tuple[Held, Held]:
    """What is calibrated on, and what chooses methods; both are all if there are few."""
    apart = {*range(CHOSEN_BY - 1, len(given), CHOSEN_BY)}
    if not apart:
        return given, given
    return given.only([at for at in range(len(given)) if at not in apart]), given.only([*apart])


def _even(places: Sequence[int], count: int) -> list[int]:
    return [places[index * len(places) // count] for index in range(count)]
