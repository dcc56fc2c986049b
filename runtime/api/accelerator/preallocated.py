"""Compiling for a size into a file, loading files, and results that go into arrays of the caller.

All of it is the second generation's. Programs of 2020 call it so in module ``microndla``, which in the third generation
has other calls of the same names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from time import perf_counter

from ...artifact.artifact import Artifact
from ...files.output_file import check_output
from .device import Accelerator, check_path, documented
from .errors import AcceleratorError
from .networks.arrays import elements, fill, targets
from .networks.binary import Batch, save
from .networks.compilation import compile_network
from .networks.sizes import is_size, parse_sizes

Counts = int | tuple[int, ...]
"""Elements of an output, or of each of several."""


class PreallocatedResults(Accelerator):
    """An accelerator whose results are written into arrays of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self._named: list[tuple[Artifact, Batch]] = []

    @documented
    def Loadmulti(self, bins: Sequence[str]) -> None:
        """Read several compiled networks, which ``Init`` with the empty text then loads together.

        Inputs and outputs of calls are then tuples, those of the first network first.
        """
        if isinstance(bins, (str, bytes)) or not isinstance(bins, Sequence) or not bins:
            expected, found = "a sequence of paths", f"{bins!r:.60}"
            raise AcceleratorError("no files are given", stage="Loadmulti", expected=expected, found=found)
        self._named = self._read(bins)

    def _compile_for(
        self,
        image: str,
        model: str,
        cards: object,
        clusters: object,
        layers: object = -1,
        samples: Sequence[object] | None = None,
    ) -> tuple[Artifact, Batch]:
        """Compile for the size that a text says, or that a picture has."""
        start = perf_counter()
        batch = self._batch(_whole("numcard", cards, 1), _whole("numclus", clusters, 1))
        is_picture = not is_size(image)
        if is_picture and not os.path.isfile(check_path("image", image)):
            expected = "a size such as 224x224x3, or the path of a picture"
            raise AcceleratorError("no size of the input", stage="Compile", expected=expected, found=f"{image!r:.60}")
        compiled = compile_network(
            model,
            self._flags,
            batch,
            sizes=() if is_picture else parse_sizes(image),
            picture=image if is_picture else None,
            samples=samples,
            layers=_whole("nlayers", layers, -1),
        )
        self._facts.compile_seconds = perf_counter() - start
        self._report.compiled(compiled[0])
        return compiled

    def _compile_into(
        self,
        outfile: str,
        image: str,
        model: str,
        cards: object,
        clusters: object,
        layers: object = -1,
        samples: Sequence[object] | None = None,
    ) -> Counts:
        """Compile into a file, and return how many elements each output has for the images of a cluster."""
        check_output(check_path("outfile", outfile), source=model)
        artifact, batch = self._compile_for(image, model, cards, clusters, layers, samples)
        save(outfile, artifact, batch)
        counts = [elements(spec) * batch.images for spec in artifact.manifest.outputs]
        return counts[0] if len(counts) == 1 else tuple(counts)

    def _init(self, infile: str, bitfile: str = "", beside: object = None) -> Counts:
        """Load a file, or those that ``Loadmulti`` named; the counts as `_compile_into`."""
        infile = check_path("infile", infile, "Init")
        if not infile and not self._named:
            raise AcceleratorError("no network is named", stage="Init", hint="Give a file, or call Loadmulti first.")
        with self._with_machine(bitfile):
            return self._load(self._read([infile]) if infile else self._named, beside).counts

    def _run_into(self, result: object, images: object, engine: str | None = None) -> None:
        outputs = self._ready("Run").outputs
        found = targets(result, outputs)
        fill(found, outputs, self._run(images, engine))

    def _get_into(self, result: object) -> object:
        """Write the oldest results, if any are ready; the object that was put with their images, or None."""
        outputs = self._ready("GetResult").outputs
        found = targets(result, outputs)
        taken = self._get()
        if taken is None:
            return None
        results, userobj = taken
        if results is not None:
            fill(found, outputs, results)
        return userobj


def _whole(name: str, value: object, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        expected = f"an integer of at least {minimum}"
        raise AcceleratorError(f"{name} is out of range", stage="Compile", expected=expected, found=f"{value!r:.60}")
    return int(value)
