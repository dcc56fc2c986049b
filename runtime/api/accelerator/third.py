"""The third generation of the Accelerator API: Compile alone makes ready to run, and results are returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import Any

import numpy as np

from ...files.output_file import check_output
from .device import check_path
from .errors import AcceleratorError, documented, initialising
from .networks.arrays import stacked
from .networks.binary import save
from .networks.compilation import compile_network
from .networks.loaded import FLOAT, SOFTWARE, Counts
from .networks.sizes import is_size, parse_shapes
from .second import PreallocatedResults

Returned = np.ndarray | list[np.ndarray]

_OF_2020 = {"image", "modeldir", "numcard", "numclus", "nlayers"}
"""Names of arguments that ``Compile`` of 2020 alone has."""

_OF_2021 = ("modelpath", "outfile", "inshapes", "samples")
"""The arguments of ``Compile`` at the beginning of 2021, in their order."""


def _of_any_edition(method: Callable[..., list[str]]) -> Callable[..., list[str] | Counts]:
    """Have ``Compile`` take the arguments of 2020 and of early 2021 as well."""

    @wraps(method)
    def call(accelerator: MDLA, *args: Any, **kwargs: Any) -> list[str] | Counts:
        paths = [isinstance(each, str) and not is_size(each) for each in args[:3]]
        is_2020 = bool(_OF_2020 & kwargs.keys()) or (bool(args) and is_size(args[0]))
        if is_2020 or paths[1:] == [True, True] or (paths[1:] == [True] and "outfile" in kwargs):
            return accelerator._compile_of_2020(*args, **kwargs)
        if paths[1:2] == [True] and len(args) <= len(_OF_2021):
            args, kwargs = (), dict(zip(_OF_2021, args, strict=False)) | kwargs
        return method(accelerator, *args, **kwargs)

    return call


class MDLA(PreallocatedResults):
    """The accelerator as module ``microndla`` has it, version 2022.1.0.

    Calls of the editions of 2020 are known by their arguments: a size before the model in ``Compile``, a bitfile in
    ``Init``, arrays for the results in ``Run``, ``Run_sw``, ``Run_th`` and ``GetResult``; these then take and return
    what those of ``FWDNXT`` do.

    Original: the version of the library was compared, and the process ended where it was another. An edition knew its
    own calls only."""

    _generation = 3

    @_of_any_edition
    @initialising
    def Compile(
        self,
        modelpath: str | list[str],
        inshapes: str | None = None,
        samples: Sequence[object] | np.ndarray | None = None,
        MDLA: object = None,
        outfile: str | None = None,
        simplify: bool = False,
    ) -> list[str]:
        """Compile a network, make it ready to run unless it goes into a file, and return the names of its outputs.

        Args:
            modelpath: the path of the ONNX model, or a list of such paths whose networks run side by side.
            inshapes: shapes of the inputs such as ``1x3x224x224``, with ``;`` between them, in place of the model's.
            samples: a list of inputs, float32, or one array of them, from which the ranges of values are derived.
            MDLA: another object whose cards are shared.
            outfile: the file to write, for ``Init``; the network is not loaded then.
            simplify: every network is simplified.

        The arguments of earlier editions are taken as well. In 2020 they were ``image, modelpath, outfile, numcard=1,
        numclus=1, nlayers=-1``, ``modelpath`` called ``modeldir`` before; that call returns what the one of ``FWDNXT``
        does. At the beginning of 2021 they were ``modelpath, outfile, inshapes=None, samples=None``.

        Original: ``samples`` chose a fixed point for each tensor, here a scale. NNEF and saved models of TensorFlow
        were converted.
        """
        start = perf_counter()
        file = None if outfile is None else check_path("outfile", outfile) or None
        if file is not None:
            check_output(file, source=modelpath)
        batch = self._batch()
        shapes = parse_shapes(inshapes) if inshapes is not None else []
        paths = modelpath if isinstance(modelpath, list) else [modelpath]
        if len(paths) != 1 and (shapes or samples is not None or file is not None or not paths):
            expected = "inshapes, samples and outfile with one model"
            raise AcceleratorError("models side by side", stage="Compile", expected=expected, found=len(paths))
        by = "the samples of Compile"
        networks = [
            compile_network(path, self._flags, batch, shapes=shapes, samples=samples, samples_by=by) for path in paths
        ]
        self._facts.compile_seconds = perf_counter() - start
        for artifact, _ in networks:
            self._report.compiled(artifact)
        if file is not None:
            save(file, *networks[0])
        else:
            self._load(networks, MDLA)
        return [spec.name for artifact, _ in networks for spec in artifact.manifest.outputs]

    @initialising
    def _compile_of_2020(
        self,
        image: str,
        modelpath: str = "",
        outfile: str = "",
        numcard: object = 1,
        numclus: object = 1,
        nlayers: object = -1,
        modeldir: str = "",
    ) -> Counts:
        return self._compile_into(outfile, image, modelpath or modeldir, numcard, numclus, nlayers)

    @initialising
    def Quantize(
        self, image: str, modelpath: str, outfile: str, images: list[np.ndarray], numcard: int = 1, numclus: int = 1
    ) -> Counts:
        """As ``Compile`` of 2020, with ranges from samples; what ``Compile(samples=)`` was until 2021."""
        return self._compile_into(outfile, image, modelpath, numcard, numclus, samples=images)

    @documented
    def GO(
        self,
        image: str,
        modelpath: str,
        bitfile: str,
        images: object,
        result: object,
        numcard: int = 1,
        numclus: int = 1,
    ) -> None:
        """``Compile``, ``Init`` and ``Run`` of 2020 in one."""
        with self._with_machine(bitfile):
            self._load([self._compile_for(image, modelpath, numcard, numclus)])
        self._run_into(result, images)

    @initialising
    def Init(self, infile: str, MDLA: object = None, cmem: object = None, bitfile: str | None = None) -> Counts | None:
        """Load a compiled network.

        Args:
            infile: what ``Compile`` wrote, or any artifact; the empty text for what ``Loadmulti`` named.
            MDLA: another object whose cards are shared; in the edition of 2020 the bitfile.
            cmem: the handle of another object whose cards are shared, as in 2020.
            bitfile: the machine that the card is, as in 2020; the counts are returned where it is given.
        """
        bitfile = MDLA if isinstance(MDLA, str) else bitfile
        if bitfile is not None:
            return self._init(infile, bitfile, cmem)
        self._init(infile, beside=MDLA if MDLA is not None else cmem)
        return None

    def _computed(self, images: object, result: object, engine: str | None = None) -> Returned | None:
        if result is not None:
            self._run_into(result, images, engine)
            return None
        return stacked(self._run(images, engine))

    @documented
    def Run(self, images: object, result: object = None) -> Returned | None:
        """Compute images on the accelerator; a new float32 array, the batch first, or a list with one for each output.

        Args:
            images: an array; a list or tuple with one for each input; or for each image of a batch such a list.
            result: arrays to write into, as in 2020; nothing is returned then.
        """
        return self._computed(images, result)

    @documented
    def Run_sw(self, images: object, result: object = None) -> Returned | None:
        """As ``Run``, with the software model of the accelerator: the same numbers, byte for byte."""
        return self._computed(images, result, SOFTWARE)

    @documented
    def Run_th(self, images: object, result: object = None) -> Returned | None:
        """As ``Run``, in floating point on the processor."""
        return self._computed(images, result, FLOAT)

    @documented
    def WriteWeights(self, weights: np.ndarray, bias: np.ndarray | int | None = None, node: int = -1) -> None:
        """Give a layer of the loaded network other weights; what was put and not yet taken is lost.

        Args:
            weights: float32 [outputs, inputs, *kernel] in C order. On the device they keep the scales that the layer
                has; what does not fit is cut off, with a warning.
            bias: float32 [outputs]; None keeps those that are there; a number is the `node`, as in 2020.
            node: which of the layers with weights, in the order of execution, from 0; -1 is the last.

        Original: -1 was the last linear layer; other numbers are undocumented. Batch normalisation that was folded into
        the layer counts as part of its weights here.
        """
        if isinstance(bias, int):
            bias, node = None, bias
        self._write_weights(weights, bias, node)

    @documented
    def GetResult(self, result: object = None) -> tuple[Returned | None, object] | object:
        """The oldest results, as of ``Run``, and the object that was put with their images.

        Without results for an end marker; (None, None) with `blockingmode` 0 when nothing is ready. With 1 it waits for
        results as long as any other thread may still put images.

        Args:
            result: arrays to write into, as in 2020; the object alone is returned then.

        Original: gave None instead of a pair when nothing was ready, which programs could not unpack.
        """
        if result is not None:
            return self._get_into(result)
        taken = self._get()
        if taken is None:
            return None, None
        results, userobj = taken
        return (None if results is None else stacked(results)), userobj
