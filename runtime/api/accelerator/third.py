"""The third generation of the Accelerator API: Compile alone makes ready to run, and results are returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import ParamSpec, TypeVar

import numpy as np

from tilewright.errors import TilewrightError

from ...files.output_file import check_output
from .device import check_path
from .errors import AcceleratorError, InitError, documented
from .networks.arrays import stacked
from .networks.binary import save
from .networks.compilation import compile_network
from .networks.loaded import FLOAT, SOFTWARE
from .networks.sizes import is_size, parse_shapes
from .preallocated import Counts, PreallocatedResults

P = ParamSpec("P")
R = TypeVar("R")

Returned = np.ndarray | list[np.ndarray]


def _initialising(method: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of a method the one of the third generation that says so."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except TilewrightError as error:
            raise InitError(str(error)) from error

    return call


class MDLA(PreallocatedResults):
    """The accelerator as module ``microndla`` has it, version 2022.1.0.

    Calls of the editions of 2020 are known by their arguments: a size before the model in ``Compile``, a bitfile in
    ``Init``, arrays for the results in ``Run``, ``Run_sw``, ``Run_th`` and ``GetResult``; these then take and return
    what those of ``FWDNXT`` do.

    Original: the version of the library was compared, and the process ended where it was another. An edition knew its
    own calls only.
    """

    NUM_MM = NUM_VV = 4
    """Units of a cluster."""

    NONLIN_BLOCKS, MAX_NONLINBIT = 4, 6
    NONLIN_BLOCK_SIZE = 1 << (MAX_NONLINBIT + 1)
    """The table of ``GetNonlinCoefs`` has `NONLIN_BLOCKS` times `NONLIN_BLOCK_SIZE` entries."""

    SFT_RELU, SFT_SIGMOID, SFT_NORELU, SFT_TANH = range(4)
    """Functions of ``GetNonlinCoefs``."""

    _generation = 3

    @_initialising
    def Compile(
        self,
        modelpath: str | list[str],
        inshapes: str | None = None,
        samples: Sequence[object] | np.ndarray | str | None = None,
        MDLA: object = None,
        outfile: str | int | None = None,
        simplify: bool | int = False,
    ) -> list[str] | Counts:
        """Compile a network, make it ready to run unless it goes into a file, and return the names of its outputs.

        Args:
            modelpath: the path of the ONNX model, or a list of such paths whose networks run side by side.
            inshapes: shapes of the inputs such as ``1x3x224x224``, with ``;`` between them, in place of the model's.
                A text that is no shape is taken for `outfile`, which stood here before 2021.
            samples: a list of inputs, float32, or one array of them, from which the ranges of values are derived.
            MDLA: another object whose cards are shared.
            outfile: the file to write, for ``Init``; the network is not loaded then.
            simplify: every network is simplified.

        Original: ``samples`` chose a fixed point for each tensor, here a scale. NNEF and saved models of TensorFlow
        were converted.
        """
        if isinstance(samples, str):
            return self._compile_of_2020(modelpath, inshapes, samples, MDLA, outfile, simplify)
        start = perf_counter()
        if inshapes is not None and not is_size(inshapes):
            inshapes, outfile = None, outfile if outfile is not None else inshapes
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

    def _compile_of_2020(
        self, image: object, model: object, outfile: str, cards: object, clusters: object, layers: object
    ) -> Counts:
        """``Compile(image, modelpath, outfile, numcard, numclus, nlayers)``."""
        if not isinstance(image, str) or not isinstance(model, str):
            raise AcceleratorError("samples are no list of arrays", stage="Compile", found=f"{outfile!r:.60}")
        cards, clusters = (1 if count is None else count for count in (cards, clusters))
        return self._compile_into(outfile, image, model, cards, clusters, -1 if layers is False else layers)

    @_initialising
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

    @_initialising
    def Init(self, infile: str, MDLA: object = None, cmem: object = None) -> Counts | None:
        """Load a compiled network.

        Args:
            infile: what ``Compile`` wrote, or any artifact; the empty text for what ``Loadmulti`` named.
            MDLA: another object whose cards are shared; in the edition of 2020 the bitfile, and the counts are
                returned.
            cmem: the handle of another object whose cards are shared, as in 2020.
        """
        if isinstance(MDLA, str):
            return self._init(infile, MDLA, cmem)
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
