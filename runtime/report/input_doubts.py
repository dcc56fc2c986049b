"""What in an input of a run tells that it is not prepared as the samples were that the network was calibrated with."""

from collections.abc import Mapping, Sequence

import numpy as np

from .details import InputStatistics

_OUTSIDE, _CONTRAST, _ONE_SIDED = 0.05, 0.25, 0.995
"""What gives rise to doubt: the share of values beyond all samples; the deviation as a part of that of the samples,
which none of 500 photographs was below; the share of values on one side of their mean, which one of 500 was above."""

_NO_PIXELS, _BESIDE = 0.001, 1.5 / 255
"""The share of values that give rise to doubt where pixels become none such, and by which part of the range they lie
beside, which rounding does not make."""

FEW = 256
"""Fewer numbers, such as a line of a table, may well be alike, or on one side."""

_ALL_PIXELS = 16
"""Of so many photographs some are black somewhere, and some white."""


def neighbours(images: np.ndarray) -> tuple[float, float]:
    """How far numbers side by side lie apart, and numbers three apart: float[..., W], W more than 3.

    Of planes the former are more alike; of pixels whose colours lie one after the other the latter are."""
    return float(np.abs(np.diff(images)).mean()), float(np.abs(images[..., 3:] - images[..., :-3]).mean())


def is_interleaved(near: float, far: float) -> bool:
    """Whether distances, or sums of them, are those of pixels whose colours lie one after the other."""
    return far < 0.8 * near


INTERLEAVED = (
    "looks like pixels whose colours lie one after the other: numbers three apart are more alike than neighbours. It "
    "takes planes, [N, 3, H, W]"
)


def doubts(inputs: Mapping[str, np.ndarray], calibration: Sequence[InputStatistics]) -> list[str]:
    """Sentences for the user, of inputs by name that are unlike the samples of calibration."""
    found = {each.input: each for each in calibration if each.mean and each.maximum > each.minimum}
    told = {name: _doubt(inputs[name], each) for name, each in found.items() if name in inputs and inputs[name].size}
    return [f"input {name!r} {what}" for name, what in told.items() if what]


def _doubt(array: np.ndarray, known: InputStatistics) -> str:
    low, high = known.minimum, known.maximum
    told = f"the samples of calibration had {low:.4g} to {high:.4g}, mean {np.mean(known.mean):.3g}"
    values = array.astype(np.float64) + 0.0  # of -0 becomes 0, as it is shown
    if missing := np.count_nonzero(np.isnan(values)):
        return f"has values that are no numbers in {missing:,} of {values.size:,} places; {told}"
    least, most = values.min(), values.max()
    if least == most and array.size >= FEW:
        return f"is {least:.4g} throughout; {told}"
    share, part, where = _OUTSIDE, _OUTSIDE, "where no sample of calibration had any"
    if known.expected is not None:
        low, high = known.expected
        where = f"outside {low:.4g} to {high:.4g}, which pixels become"
    if known.expected is not None or (len(known.mean) == 3 and known.samples >= _ALL_PIXELS):
        # What samples of calibration had outside is not unlike them.
        share, part = _NO_PIXELS + 2 * known.clipped, _BESIDE
    margin = part * (high - low)
    outside = np.count_nonzero((values < low - margin) | (values > high + margin)) / values.size
    shown = f"has values of {least:.4g} to {most:.4g}"
    if outside > share:
        return f"{shown}, of which {outside:.1%} lie {where}; {told}. Prepare it as these"
    if array.size < FEW:
        return ""
    spread = np.sqrt(np.mean(np.square(known.deviation)) + np.var(known.mean))
    if values.std() < _CONTRAST * spread:
        return f"{shown}, and little contrast; {told}. Prepare it as these, if they are in other units"
    if array.ndim == 4 and array.shape[1] == 3 and array.shape[-1] > 8 and is_interleaved(*neighbours(values)):
        return INTERLEAVED
    above = np.count_nonzero(values > np.mean(known.mean)) / values.size
    if max(above, 1 - above) > _ONE_SIDED:
        return f"{shown}, nearly all on one side of the mean; {told}. Prepare it as these, if they are in other units"
    return ""
