"""What a quantised network is to reach; and which samples are calibrated on, choose methods, and judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.errors import CalibrationError

from ...calibration.sample_sets import CalibrationSet, Held, hold
from .judging import Score


@dataclass(frozen=True)
class Goal:
    """A largest fall, a least SQNR, both, or none.

    Attributes:
        max_drop: by how much top-1 may fall; without labels, the share of answers that may change.
        min_sqnr: in decibels.
        top1: in floating point; ``None`` without labels.
    """

    max_drop: float | None
    min_sqnr: float | None
    top1: float | None

    @property
    def words(self) -> str | None:
        """The goal; ``None`` if there is none."""
        drop = "top-1" if self.top1 is not None else "same answers"
        parts = [f"{drop} at most {100 * self.max_drop:g} % lower"] if self.max_drop is not None else []
        parts += [f"SQNR of at least {self.min_sqnr:g} dB"] if self.min_sqnr is not None else []
        return " and ".join(parts) or None

    def met(self, score: Score | None) -> bool:
        """Whether a score is good enough; never without a goal, nor of a try that failed."""
        if score is None or (self.max_drop is None and self.min_sqnr is None):
            return False
        drop = (1 - score.agreement) if self.top1 is None or score.top1 is None else self.top1 - score.top1
        enough = self.min_sqnr is None or score.sqnr >= self.min_sqnr
        return enough and (self.max_drop is None or drop <= self.max_drop + 1e-9)

    def doubts(self, answers: int) -> list[str]:
        """What to tell where so many answers cannot tell the fall. One of none at all they tell as well as they can."""
        if not self.max_drop or self.max_drop * answers >= 1:
            return []
        return [f"{answers} answers tell no fall of {100 * self.max_drop:g} %: one of them is more than that"]


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
