"""The third generation of the Accelerator API: Compile alone makes ready to run, and results are returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from time import perf_counter
from typing import ParamSpec, TypeVar

import numpy as np

from tilewright.errors import TilewrightError

from .device import Accelerator, documented
from .errors import AcceleratorError, InitError
from .networks.arrays import stacked
from .networks.binary import save
from .networks.compilation import compile_network
from .networks.loaded import FLOAT, SOFTWARE
from .networks.sizes import is_size, parse_shapes

P = ParamSpec("P")
R = TypeVar("R")

Returned = np.ndarray | list[np.ndarray]


def _initialising(method: Callable[P, R]) -> Callable[P, R]:
    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except TilewrightError as error:
            raise InitError(str(error)) from error

    return call


class MDLA(Accelerator):
    """The accelerator as module ``microndla`` has it, version 2022.1.0.

    Original: the version of the library was compared, and the process ended where it was another.
    """

    _generation = 3

    @_initialising
    def Compile(
        self,
        modelpath: str | list[str],
        inshapes: str | None = None,
        samples: Sequence[object] | None = None,
        MDLA: object = None,
        outfile: str | None = None,
        simplify: bool = False,
    ) -> list[str]:
        """Compile a network, make it ready to run unless it goes into a file, and return the names of its outputs.

        Args:
            modelpath: the path of the ONNX model, or a list of such paths whose networks run side by side.
            inshapes: shapes of the inputs such as ``1x3x224x224``, with ``;`` between them, in place of the model's.
                A text that is no shape is taken for `outfile`, which stood here before 2022.
            samples: a list of inputs, float32, from which the ranges of values are derived.
            MDLA: another object whose cards are shared.
            outfile: the file to write, for ``Init``; the network is not loaded then.
            simplify: every network is simplified.

        Original: ``samples`` chose a fixed point for each tensor, here a scale.
        """
        start = perf_counter()
        if inshapes is not None and not is_size(inshapes):
            inshapes, outfile = None, outfile if outfile is not None else inshapes
        batch = self._batch()
        shapes = parse_shapes(inshapes) if inshapes is not None else []
        paths = list(modelpath) if isinstance(modelpath, list) else [modelpath]
        if len(paths) != 1 and (shapes or samples is not None or outfile is not None or not paths):
            expected = "inshapes, samples and outfile with one model"
            raise AcceleratorError("models side by side", stage="Compile", expected=expected, found=len(paths))
        networks = [
            compile_network(
                path, self._flags, batch, shapes=shapes, samples=samples, samples_by="the samples of Compile"
            )
            for path in paths
        ]
        self._facts.compile_seconds = perf_counter() - start
        if outfile is not None:
            save(outfile, *networks[0])
        else:
            self._load(networks, MDLA)
        return [spec.name for artifact, _ in networks for spec in artifact.manifest.outputs]

    @_initialising
    def Init(self, infile: str, MDLA: object = None) -> None:
        """Load a compiled network.

        Args:
            infile: what ``Compile`` wrote, or any artifact.
            MDLA: another object whose cards are shared.
        """
        self._load(self._read([infile]), MDLA)

    @documented
    def Run(self, images: object) -> Returned:
        """Compute images on the accelerator; a new float32 array, the batch first, or a list with one for each output.

        Args:
            images: an array; a list or tuple with one for each input; or for each image of a batch such a list.
        """
        return stacked(self._run(images))

    @documented
    def Run_sw(self, images: object) -> Returned:
        """As ``Run``, with the software model of the accelerator: the same numbers, byte for byte."""
        return stacked(self._run(images, SOFTWARE))

    @documented
    def Run_th(self, images: object) -> Returned:
        """As ``Run``, in floating point on the processor."""
        return stacked(self._run(images, FLOAT))

    @documented
    def GetResult(self) -> tuple[Returned | None, object]:
        """The oldest results, as of ``Run``, and the object that was put with their images.

        Without results for an end marker; (None, None) with `blockingmode` 0 when nothing is ready. With 1 it waits for
        results as long as any other thread may still put images.

        Original: gave None instead of a pair when nothing was ready, which programs could not unpack.
        """
        taken = self._get()
        if taken is None:
            return None, None
        results, userobj = taken
        return (None if results is None else stacked(results)), userobj
