"""The second generation of the Accelerator API: results go into arrays of the caller."""

from __future__ import annotations

import numpy as np

from .errors import documented
from .networks.loaded import FLOAT, SOFTWARE
from .preallocated import Counts, PreallocatedResults


class FWDNXT(PreallocatedResults):
    """The accelerator as module ``fwdnxt`` has it, version v0.3.16.

    Original: the version of the library was compared, and the process ended where it was another.
    """

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

        Original: raised NameError.
        """
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
        ready; with 1 it waits for results as long as any other thread may still put images.
        """
        return self._get_into(result)
