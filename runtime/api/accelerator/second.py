"""The second generation of the Accelerator API: files are compiled for a size, results go into arrays of the caller.

Programs of 2020 call it so in module ``microndla``, which in the third generation has other calls of the same names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from ...artifact.artifact import Artifact
from ...files.output_file import check_output
from .device import Accelerator, check_path
from .errors import AcceleratorError, documented
from .networks.arrays import fill, targets
from .networks.binary import Batch, load, save
from .networks.compilation import compile_network
from .networks.loaded import FLOAT, SOFTWARE, Counts, counts_of
from .networks.sizes import is_size, parse_sizes


class PreallocatedResults(Accelerator):
    """An accelerator whose results are written into arrays of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self._named: list[tuple[Artifact, Batch]] = []

    @documented
    def Loadmulti(self, bins: Sequence[str]) -> None:
        """Read several compiled networks, which ``Init`` with the empty text then loads together.

        Inputs and outputs of calls are then tuples, those of the first network first."""
        if isinstance(bins, (str, bytes)) or not isinstance(bins, Sequence) or not bins:
            expected, found = "a sequence of paths", f"{bins!r:.60}"
            raise AcceleratorError("no files are given", stage="Loadmulti", expected=expected, found=found)
        self._named = [load(path) for path in bins]

    def _compile_for(
        self,
        image: str,
        model: str,
        cards: object,
        clusters: object,
        layers: object = -1,
        *,
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
        self, outfile: str, image: str, model: str, *numbers: object, samples: Sequence[object] | None = None
    ) -> Counts:
        """Compile into a file, and return how many elements each output has for the images of a cluster."""
        check_output(check_path("outfile", outfile), source=model)
        artifact, batch = self._compile_for(image, model, *numbers, samples=samples)
        save(outfile, artifact, batch)
        return counts_of([(artifact, batch)])

    def _init(self, infile: str, bitfile: str = "", beside: object = None) -> Counts:
        """Load a file, or those that ``Loadmulti`` named; the counts as `_compile_into`."""
        infile = check_path("infile", infile, "Init")
        if not infile and not self._named:
            raise AcceleratorError("no network is named", stage="Init", hint="Give a file, or call Loadmulti first.")
        with self._with_machine(bitfile):
            return self._load([load(infile)] if infile else self._named, beside).counts

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


class FWDNXT(PreallocatedResults):
    """The accelerator as module ``fwdnxt`` has it, version v0.3.16.

    Original: the version of the library was compared, and the process ended where it was another."""

    _generation = 2

    @documented
    def Compile(
        self, image: str, modeldir: str, outfile: str, numcard: int = 1, numclus: int = 1, nlayers: int = -1
    ) -> Counts:
        """Compile a network into a file, and return how many elements each output has for the images of a cluster.

        Args:
            image: the size of the input: ``WxHxP``, ``WxHxPxB`` or ``WxHxDxPxB``, several with ``;`` between them; or
                the path of a picture of that size, which also gives the ranges of values where nothing else does.
            modeldir: the path of the ONNX model.
            outfile: the file to write, an artifact.
            numcard: cards that the batch is divided among; with 1 what the flag `nfpgas` says.
            numclus: clusters of each; with 1 what the flag `nclusters` says.
            nlayers: how many layers to compile; 0 and -1 are all.

        Original: failures were silent until a later call.
        """
        return self._compile_into(outfile, image, modeldir, numcard, numclus, nlayers)

    @documented
    def Init(self, infile: str, bitfile: str, cmem: object = None) -> Counts:
        """Load a compiled network, and return how many elements each output has for the images of a cluster.

        Args:
            infile: what ``Compile`` wrote, or any artifact; the empty text for what ``Loadmulti`` named.
            bitfile: the name or path of the description of the machine that the card is; by default the one that the
                network was compiled for.
            cmem: the handle of another object whose cards are shared.

        Original: failures were silent until a later call.
        """
        return self._init(infile, bitfile, cmem)

    @documented
    def Run(self, images: object, result: object) -> None:
        """Compute images on the accelerator and write the results into arrays of any shape, in C order.

        Args:
            images: float32, one array or a tuple with one for each input; a batch is one image after the other.
            result: float32 with room for every image of `images`; what is beyond stays as it is.
        """
        self._run_into(result, images)

    @documented
    def Run_sw(self, images: object, result: object) -> None:
        """As ``Run``, with the software model of the accelerator: the same numbers, byte for byte."""
        self._run_into(result, images, SOFTWARE)

    @documented
    def Run_th(self, images: object, result: object) -> None:
        """As ``Run``, in floating point on the processor.

        Original: raised NameError."""
        self._run_into(result, images, FLOAT)

    @documented
    def WriteWeights(self, weight: np.ndarray, node: int) -> None:
        """Give a layer of the loaded network other weights; what was put and not yet taken is lost.

        Args:
            weight: float32 [outputs, inputs, *kernel] in C order. On the device they keep the scales that the layer
                has; what does not fit is cut off, with a warning.
            node: which of the layers with weights, in the order of execution, from 0; -1 is the last.

        Original: undocumented. Batch normalisation that was folded into the layer counts as part of its weights here.
        """
        self._write_weights(weight, None, node)

    @documented
    def GetResult(self, result: object) -> object:
        """Write the oldest results into arrays and return the object that was put with their images.

        An end marker writes nothing and returns its object. None is returned with `blockingmode` 0 when nothing is
        ready; with 1 it waits for results as long as any other thread may still put images."""
        return self._get_into(result)


def _whole(name: str, value: object, minimum: int) -> int:
    # Programs divide with / and give 2.0.
    number = int(value) if isinstance(value, (float, np.floating)) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < minimum:
        expected = f"an integer of at least {minimum}"
        raise AcceleratorError(f"{name} is out of range", stage="Compile", expected=expected, found=f"{value!r:.60}")
    return int(number)
