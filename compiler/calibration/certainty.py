"""Whether a network is surer of its samples when they are prepared otherwise, as it is of what it was trained with.

A network that classifies gives one class most of the probability where its inputs are like those of its training, and
spreads it where colours are swapped or numbers are in other units. That is the one statistic of its training that
every network still has: batch normalisation, whose means would tell more, is folded into weights as a rule.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...runtime.pictures.preprocessing import Preprocessing

SAMPLES, FEWEST = 48, 16
"""Samples that are also tried otherwise, and the fewest that say anything."""

_SURE, _STRONG = 2.0, 1.25
"""How many standard errors of its mean the part of the entropy must be that it falls by; and how many standard
deviations of one sample more the fall itself where numbers become larger, which alone makes outputs extreme."""

_LEAST, _NOTHING = 0.02, 1e-3
"""The least fall in nats that tells of other units: less is what networks tell apart without being wrong; and an
entropy of which no part is told."""

_PLACES = 64
"""The fewest distributions of one sample that are those of places, most of which show nothing."""

_CLASSES = 10
"""The fewest outputs that count as classes where they are not probabilities already."""

_ALIKE = 0.5
"""Where more of the samples than this share get one class of ten and more, a network tells none of them apart, as with
random weights, whatever it is sure of."""

_EVEN, _STEPS = 0.05, 64
"""How far from whole steps numbers may lie that were pixels, and how many of the 256 there must be."""

_UNITS = ("units=0-1", "units=-1-1", "units=0-255", "imagenet")


def entropy(outputs: Mapping[str, np.ndarray]) -> float | None:
    """The mean entropy in nats of the distributions that outputs are, or that softmax makes of those that look like
    classes: [..., classes]; None where there are none. Of many places, one that surely shows something is worth more
    than that nothing is seen: to their entropy comes the negative logarithm of what the surest of them gives to other
    classes than the one of most places."""
    found: list[np.ndarray] = []
    for values in _distributions(outputs):
        found.append(-(values * np.log(values + 1e-12)).sum(-1).mean(keepdims=True))
        if len(values) >= _PLACES:
            nothing = values.mean(0).argmax()
            found[-1] -= np.log(1 - values[:, nothing].min() + 1e-12)
    return float(np.concatenate(found).mean()) if found else None


def _distributions(outputs: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """What of outputs is distributions, or looks like classes, which softmax makes into such: [places, classes]."""
    for array in outputs.values():
        if array.dtype.kind != "f" or array.ndim < 2 or array.shape[-1] < 2 or not array.size:
            continue
        values = array.astype(np.float64).reshape(-1, array.shape[-1])
        if values.min() < 0 or np.abs(values.sum(-1) - 1).max() > 1e-3:
            if math.prod(array.shape[1:]) != array.shape[-1] or array.shape[-1] < _CLASSES:
                continue
            values = np.exp(values - values.max(-1, keepdims=True))
            values /= values.sum(-1, keepdims=True)
        yield values


def _answer(outputs: Mapping[str, np.ndarray]) -> int:
    """The class of a sample, where it gets one of ten and more, else -1."""
    found = [values for values in _distributions(outputs) if len(values) == 1 and values.shape[1] >= _CLASSES]
    return int(found[0].argmax()) if found else -1


def _guessed(array: np.ndarray) -> Preprocessing | None:
    """What the numbers of an image say of their units: common ones, or, where they are 256 even steps from least to
    largest, what was subtracted and multiplied by; as nearly as arithmetic in single precision leaves them."""
    for words in ("units=0-1", "units=0-255", "units=-1-1"):
        own = Preprocessing.of(words)
        pixels = array.astype(np.float64) / own.scale[0] + own.mean[0]
        is_within = pixels.min() >= -_EVEN and pixels.max() <= 255 + _EVEN
        if is_within and (words != "units=0-255" or np.abs(pixels - np.rint(pixels)).max() <= _EVEN):
            return own
    low, high = float(array.min()), float(array.max())
    step = (high - low) / 255
    if not 0 < step < np.inf:
        return None
    codes = (array - low) / step
    whole = np.rint(codes)
    if np.abs(codes - whole).max() > _EVEN or np.unique(whole).size < _STEPS:
        return None
    return Preprocessing(mean=(-low / step,), scale=(step,))


@dataclass
class Certainty:
    """Compares what a network makes of samples with what it makes of them prepared otherwise.

    Args:
        input: the input that images become.
        run: the network: its outputs by name.
        preprocessing: how the samples were prepared; None if that is not known: numbers from 0 to 1, from -1 to 1,
            whole ones from 0 to 255, and others in 256 even steps tell, of each sample.
        every: one sample of so many is tried.
        seen: samples before the first that is taken in.
        entropies: by words for another preparation, of each sample as it is and prepared so, and its class then, or -1.
    """

    input: str
    run: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
    preprocessing: Preprocessing | None
    every: int = 1
    seen: int = 0
    entropies: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)

    def observe(self, inputs: dict[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Take in a sample and what the network made of it."""
        self.seen += 1
        # Of a constant it would be sure or not by chance, and of all of them alike.
        array = inputs[self.input]
        is_tried = (self.seen - 1) % self.every == 0 and array.size > 0 and array.min() < array.max()
        given = entropy(outputs) if is_tried else None
        if given is None:
            return
        # A class for each of many places, most of them alike, is no measure of how extreme outputs may become.
        classifies = all(array.ndim <= 2 for array in outputs.values())
        for words, changed in self._others(array):
            if self._is_larger(words) and not classifies:
                continue
            outputs = self.run({**inputs, self.input: changed})
            other = entropy(outputs)
            if other is not None and math.isfinite(other):
                self.entropies.setdefault(words, []).append((given, other, _answer(outputs)))

    def _others(self, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        own = self.preprocessing or _guessed(array)
        axis = 1 if own is None or own.layout == "nchw" else 3
        if own is None:
            yield "colour", np.flip(array, axis)
            return
        shape = (1, -1, 1, 1) if axis == 1 else (1, 1, 1, -1)
        mean, scale = (np.reshape(values, shape) for values in (own.mean, own.scale))
        pixels = array / scale + mean
        yield "colour", ((np.flip(pixels, axis) - mean) * scale).astype(array.dtype)
        for words in _UNITS:
            other = Preprocessing.of(words)
            if not {"mean", "scale"}.isdisjoint(own.differences(other)):
                found = (pixels - np.reshape(other.mean, shape)) * np.reshape(other.scale, shape)
                yield words, found.astype(array.dtype)

    def warnings(self) -> list[str]:
        """What to tell: the other preparation that makes the network surest, if any does beyond doubt."""
        found: list[tuple[float, str]] = []
        for words, entropies in self.entropies.items():
            classes = Counter(answer for *_, answer in entropies if answer >= 0)
            if classes and max(classes.values()) > _ALIKE * len(entropies):
                continue
            given, other = np.transpose([each[:2] for each in entropies])
            gains, is_larger = given - other, self._is_larger(words)
            if len(gains) < FEWEST or gains.mean() <= (0 if words == "colour" else _LEAST):
                continue
            if is_larger and np.median(other) < _NOTHING:
                # Of pictures as it was trained with, a network keeps some doubt; extreme outputs leave none.
                continue
            if not is_larger:
                # The few samples of which the network is least sure would drown what all others say.
                gains /= given + other + _NOTHING
            strength = float(gains.mean() / (gains.std(ddof=1) + 1e-9))
            if strength > _STRONG * is_larger + _SURE / math.sqrt(len(gains)):
                found.append((strength, words))
        if not found:
            return []
        _, words = max(found)
        own, what = self.preprocessing or Preprocessing(), f"input {self.input!r} may be in wrong units"
        count = f"{len(self.entropies[words])} samples"
        if words == "colour":
            words = "colour=rgb" if own.colour == "bgr" else "colour=bgr"
            what = f"the colours of input {self.input!r} may be swapped"
        base = Preprocessing.of(words)
        changed = {name: getattr(base, name) for name in (["colour"] if "colour" in words else ["mean", "scale"])}
        other = replace(own, **changed)
        pairs = ",".join(filter(None, (words, other.text(other.differences(base)))))
        how = f"Try --preprocess {pairs}, or prepare arrays"
        if self.preprocessing is None:
            words, how = "the other order" if "colour" in words else words, "Prepare arrays"
        return [f"{what}: of {count} the network is surer with {words}. {how} so"]

    def _is_larger(self, words: str) -> bool:
        if words == "colour" or self.preprocessing is None:
            return words == "units=0-255"
        return max(map(abs, Preprocessing.of(words).scale)) > 8 * max(map(abs, self.preprocessing.scale))
