"""Watching a calibration: statistics of the samples, and whether the network is surer of others."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...ir.types import TensorType
from ...passes.quantization.parameters import Range
from ...runtime.files.input_file import is_url
from ...runtime.pictures.inputs import Declaration, declared, fits, for_input
from .certainty import FEWEST, SAMPLES, Certainty
from .sample_sets import CalibrationSet, ImageFiles, Inputs, between, images_of, rate_of, reading
from .statistics import Findings, Watched

_OUTPUT = "watched output {}"
"""What the outputs of the network go by among observed values."""


class Watch:
    """What is looked at while a network runs on its samples.

    Args:
        inputs: types of the network, one of floating point, by name.
        results: how many outputs it has.
        preprocessing: how images become inputs.
        first, last: numbers of the samples that are looked at here.

    Attributes:
        samples: the samples to run, looked at as they pass.
        outputs: names of the outputs to compute beside what is observed, in order; none where they are of no use.
    """

    def __init__(
        self,
        inputs: Mapping[str, TensorType],
        results: int,
        samples: CalibrationSet,
        preprocessing: Declaration | None,
        first: int = 0,
        last: int = 0,
    ) -> None:
        self._files, self._rates = images_of(samples), {name: rate_of(samples, name) for name in inputs}
        asked = declared(preprocessing) if preprocessing is not None else {}
        named = [part.input for part in self._files] + [*(asked if isinstance(asked, dict) else inputs)]
        every = {name: for_input(preprocessing, name).preprocessing for name in named if name in inputs}
        images = {name: (inputs[name].shape, inputs[name].dtype.numpy) for name in every}
        prepared = {name: each for name, each in every.items() if fits(each, *images[name])}
        for name, each in every.items():
            # Arrays are not prepared, but what no input could be prepared with is refused as for images.
            if not prepared and each.fits(inputs[name].shape):
                with reading():
                    each.check(*images[name])
        expected: dict[str, Range] = {name: each.range() for name, each in prepared.items()}
        self.samples = Watched(between(samples, first, last), inputs, expected)
        self.outputs: list[str] = []
        self._certainty: Certainty | None = None
        chosen = [name for name, type in inputs.items() if type.rank == 4 and type.dtype.is_float]
        own = prepared.get(chosen[0]) if len(chosen) == 1 else None
        axis = 3 if own is not None and own.layout == "nhwc" else 1
        is_coloured = len(chosen) == 1 and inputs[chosen[0]].shape[axis] == 3 and (own is None or own.colour != "grey")
        if is_coloured and len(samples) >= FEWEST:
            self.outputs = [_OUTPUT.format(index) for index in range(results)]
            self._certainty = Certainty(chosen[0], lambda inputs: {}, own, max(1, len(samples) // SAMPLES), first)

    def watched(self, run: Callable[[Inputs], Mapping[str, np.ndarray]]) -> Callable[[Inputs], dict[str, np.ndarray]]:
        """The network as it is observed, with what it gives looked at."""
        certainty = self._certainty
        if certainty is None:
            return lambda inputs: dict(run(inputs))

        def outputs_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: found[name] for name in self.outputs if name in found}

        def watched(inputs: Inputs) -> dict[str, np.ndarray]:
            found = dict(run(inputs))
            certainty.observe(inputs, outputs_of(found))
            return {name: array for name, array in found.items() if name not in self.outputs}

        certainty.run = lambda inputs: outputs_of(run(inputs))
        return watched

    def seen(self) -> dict[str, Any]:
        """What was seen of its samples, of numbers, lists and arrays."""
        entropies = self._certainty.entropies if self._certainty is not None else {}
        return {"inputs": self.samples.seen(), "entropies": entropies}

    def include(self, seen: Mapping[str, Any]) -> None:
        """Take in what was seen of the samples that follow."""
        self.samples.include(seen["inputs"])
        if self._certainty is not None:
            for words, entropies in seen["entropies"].items():
                self._certainty.entropies.setdefault(words, []).extend(entropies)

    def report(self, findings: Findings) -> None:
        """Put what was seen into the findings."""
        self.samples.report(findings)
        findings.inputs = [replace(each, rate=self._rates[each.input]) for each in findings.inputs]
        if self._certainty is not None:
            findings.warnings += self._certainty.warnings()
        for part in self._files:
            fit, warnings = _noted(part)
            findings.warnings += warnings
            findings.inputs = [replace(each, fit=fit) if each.input == part.input else each for each in findings.inputs]


def _noted(part: ImageFiles) -> tuple[str, list[str]]:
    """How images are made to fit the input, and what to tell of those that a camera notes an orientation of, if it is
    not applied; of images on this machine."""
    from ...runtime.pictures.image_file import noted

    upright = part.preprocessing.orientation == "exif"
    found = [noted(file, upright=upright) for file in part.files if not is_url(file)]
    turned = sum(is_turned for *_, is_turned in found)
    fit = part.preprocessing.fit([(width, height) for width, height, _ in found if width], part.type.shape)
    if not turned or upright:
        return fit, []
    what = f"{turned} of {len(part.files)} images for input {part.input!r} lie on their side or head as they are stored"
    return fit, [f"{what}: orientation=exif turns them upright"]
