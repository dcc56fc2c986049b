"""The second generation of the Accelerator API: results go into arrays of the caller."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from time import perf_counter

from .device import Accelerator, documented
from .errors import AcceleratorError
from .networks.arrays import elements, fill, targets
from .networks.binary import save
from .networks.compilation import compile_network
from .networks.loaded import FLOAT, SOFTWARE
from .networks.sizes import is_size, parse_sizes

Counts = int | tuple[int, ...]


class FWDNXT(Accelerator):
    """The accelerator as module ``fwdnxt`` has it, version v0.3.16.

    Original: the version of the library was compared, and the process ended where it was another.
    """

    _generation = 2

    def __init__(self) -> None:
        super().__init__()
        self._bins: list[str] = []

    @documented
    def Compile(
        self, image: str, modeldir: str, outfile: str, numcard: int = 1, numclus: int = 1, nlayers: int = -1
    ) -> Counts:
        """Compile a network into a file, and return how many elements each output has for the images of a cluster.

        Args:
            image: the size of the input: ``WxHxP``, ``WxHxPxB`` or ``WxHxDxPxB``, several with ``;`` between them; or
                the path of a picture, which also gives the ranges of values where nothing else does.
            modeldir: the path of the ONNX model.
            outfile: the file to write, an artifact.
            numcard: cards that the batch is divided among.
            numclus: clusters of each.
            nlayers: how many layers to compile; 0 and -1 are all.

        Original: failures were silent until a later call.
        """
        start = perf_counter()
        batch = self._batch(_count("numcard", numcard), _count("numclus", numclus))
        is_picture = not is_size(image)
        if is_picture and not os.path.exists(image):
            expected = "a size such as 224x224x3, or the path of a picture"
            raise AcceleratorError("no size of the input", stage="Compile", expected=expected, found=f"{image!r:.60}")
        artifact, batch = compile_network(
            modeldir,
            self._flags,
            batch,
            sizes=() if is_picture else parse_sizes(image),
            picture=image if is_picture else None,
            layers=nlayers,
        )
        save(outfile, artifact, batch)
        self._facts.compile_seconds = perf_counter() - start
        counts = [elements(spec) * batch.images for spec in artifact.manifest.outputs]
        return counts[0] if len(counts) == 1 else tuple(counts)

    @documented
    def Loadmulti(self, bins: Sequence[str]) -> None:
        """Name several compiled networks, which ``Init('', bitfile)`` then loads together.

        Inputs and outputs of calls are then tuples, those of the first network first.
        """
        if isinstance(bins, (str, bytes)) or not bins:
            raise AcceleratorError("no files are given", stage="Loadmulti", expected="a sequence of paths", found=bins)
        self._read(bins)
        self._bins = list(bins)

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
        if bitfile:
            self._choose_machine(bitfile)
        if not infile and not self._bins:
            raise AcceleratorError("no network is named", stage="Init", hint="Give a file, or call Loadmulti first.")
        self._load(self._read([infile] if infile else self._bins), cmem)
        return self._ready("Init").counts

    def _fill(self, result: object, images: object, engine: str | None = None) -> None:
        outputs = self._ready("Run").outputs
        found = targets(result, outputs)
        fill(found, outputs, self._run(images, engine))

    @documented
    def Run(self, images: object, result: object) -> None:
        """Compute images on the accelerator and write the results into arrays of any shape, in C order.

        Args:
            images: float32, one array or a tuple with one for each input; a batch is one image after the other.
            result: float32 with room for every image of `images`; what is beyond stays as it is.
        """
        self._fill(result, images)

    @documented
    def Run_sw(self, images: object, result: object) -> None:
        """As ``Run``, with the software model of the accelerator: the same numbers, byte for byte."""
        self._fill(result, images, SOFTWARE)

    @documented
    def Run_th(self, images: object, result: object) -> None:
        """As ``Run``, in floating point on the processor.

        Original: raised NameError.
        """
        self._fill(result, images, FLOAT)

    @documented
    def GetResult(self, result: object) -> object:
        """Write the oldest results into arrays and return the object that was put with their images.

        An end marker writes nothing and returns its object. None is returned with `blockingmode` 0 when nothing is
        ready; with 1 it waits for results as long as any other thread may still put images.
        """
        outputs = self._ready("GetResult").outputs
        found = targets(result, outputs)
        taken = self._get()
        if taken is None:
            return None
        results, userobj = taken
        if results is not None:
            fill(found, outputs, results)
        return userobj


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        expected = "an integer of at least 1"
        raise AcceleratorError(f"{name} is out of range", stage="Compile", expected=expected, found=f"{value!r:.60}")
    return int(value)
