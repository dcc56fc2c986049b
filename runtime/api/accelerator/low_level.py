"""Calls of the Accelerator API below networks: the memory of cards, programs in it, and training of a layer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from ...machines import machine as machines
from .errors import AcceleratorError, documented
from .facts import Facts
from .flags import Flags
from .memory import CardMemory, HardwareRun, Whole, nonlinear_coefficients
from .training import LinearTraining

P = ParamSpec("P")
R = TypeVar("R")


def _in_turns(method: Callable[Concatenate[LowLevelCalls, P], R]) -> Callable[Concatenate[LowLevelCalls, P], R]:
    """Have the calls of several threads wait for one another, with the errors that the API documents."""

    @documented
    @wraps(method)
    def call(calls: LowLevelCalls, *args: P.args, **kwargs: P.kwargs) -> R:
        with calls._changing:
            return method(calls, *args, **kwargs)

    return call


class LowLevelCalls:
    """What both generations have of these calls.

    Attributes:
        _flags, _facts: of the object.
        _changing: held by whoever changes what the object has.
    """

    _flags: Flags
    _facts: Facts
    _changing: threading.RLock
    _card_memory: CardMemory | None = None
    _training: LinearTraining | None = None

    @property
    def _memory(self) -> CardMemory:
        """The memory of the object's cards; made when it is first used."""
        if self._card_memory is None:
            self._card_memory = CardMemory(self._facts.machine, self._facts.batch.cards)
        return self._card_memory

    @_in_turns
    def CreateMemcard(self, nfpga: int, nclus: int, bitfile: str = "") -> None:
        """Make memories of cards, all 0, without a network; by the description of a machine, if one is named."""
        self._flags.set({"nfpgas": nfpga, "nclusters": nclus})
        if bitfile:
            self._facts.machine = machines.load(bitfile)
            self._flags.bitfile = bitfile
        self._card_memory = CardMemory(self._facts.machine, self._flags.nfpgas)

    @_in_turns
    def Malloc(self, nelements: Whole, datasize: Whole, card: Whole, name: str = "") -> int:
        """The address of so many elements of `datasize` bytes in the memory of a card, from `addroff` on."""
        address = self._memory.allocate(nelements, datasize, card, name, self._flags.addroff)
        if "c" in self._flags.debug:
            print(self._memory.blocks_text())
        return address

    @_in_turns
    def WriteData(self, addr: Whole, data: np.ndarray, card: Whole = 0) -> None:
        """Write the bytes of an array into the memory of a card, as they are.

        What networks hold that ``Init`` loaded lies elsewhere and does not change.

        Original: converted float32 to the numbers of the device.
        """
        self._memory.write(addr, data, card)

    @_in_turns
    def ReadData(self, addr: Whole, data: np.ndarray, card: Whole = 0) -> None:
        """Fill an array with the bytes from an address of a card on, 0 where nothing was written."""
        self._memory.read(addr, data, card)

    @_in_turns
    def ReadCode(self, filename: str | os.PathLike[str], instr_addr: Whole) -> int:
        """Load the device program of an artifact into card 0; the bytes that it takes with its regions.

        Its constants come with it, its inputs are filled by the flags `seed` and `rand`. The letter c of `debug` prints
        where they lie.

        Original: instructions alone, from text.
        """
        size = self._memory.read_code(filename, instr_addr, self._flags)
        if "c" in self._flags.debug:
            print(self._memory.blocks_text())
        return size

    @_in_turns
    def HwRun(self, instr_addr: Whole, outsize: Whole = 0) -> HardwareRun:
        """Run a program that ``ReadCode`` loaded; (milliseconds, bytes moved), both by the cycle model.

        Args:
            outsize: bytes of its outputs, which are checked; 0 for whatever it gives.
        """
        return self._memory.run(instr_addr, outsize)

    @_in_turns
    def GetNonlinCoefs(self, type: int) -> np.ndarray:
        """int16 [4, 128]: a function in Q8.8 from -8 in steps of 1/32; 0 relu, 1 sigmoid, 2 none, 3 tanh.

        Original: the form of the table is undocumented.
        """
        return nonlinear_coefficients(type)

    @_in_turns
    def TrainlinearStart(
        self,
        batchsize: int,
        A: np.ndarray,
        b: np.ndarray,
        Ashift: int,
        Xshift: int,
        Yshift: int,
        Ygshift: int,
        rate: float,
    ) -> None:
        """Begin to train ``Y = A·X + b``, A [nout, nin]; see `LinearTraining` for what the arguments mean."""
        warnings = "w" in self._flags.debug
        self._training = LinearTraining(batchsize, A, b, Ashift, Xshift, Yshift, Ygshift, rate, warnings=warnings)

    @_in_turns
    def TrainlinearData(self, X: np.ndarray | None, Y: np.ndarray | None, idx: int) -> None:
        """Inputs [nin, batch], and targets, or with rate 0 the gradient, [nout, batch], for the steps on `idx`."""
        self._trained("TrainlinearData").data(X, Y, idx)

    @_in_turns
    def TrainlinearStep(self, idx: int) -> None:
        """A step in 16-bit fixed point on the data of `idx`."""
        self._trained("TrainlinearStep").step(idx)

    @_in_turns
    def TrainlinearStepSw(self) -> None:
        """The same numbers by the software model, on the data given last, with a positive rate."""
        self._trained("TrainlinearStepSw").step_software()

    @_in_turns
    def TrainlinearStepFloat(self) -> None:
        """A step in floating point, on the data given last."""
        self._trained("TrainlinearStepFloat").step_float()

    @_in_turns
    def TrainlinearGet(self, A: np.ndarray, b: np.ndarray) -> None:
        """The weights and biases after the latest step, into arrays of the caller."""
        self._trained("TrainlinearGet").get(A, b)

    @_in_turns
    def TrainlinearGetY(self, Y: np.ndarray) -> None:
        """The outputs of the latest step, before its update, into an array of the caller."""
        self._trained("TrainlinearGetY").outputs(Y)

    @_in_turns
    def TrainlinearEnd(self) -> None:
        """End the training; what it held is forgotten."""
        self._training = None

    def _trained(self, stage: str) -> LinearTraining:
        if self._training is None:
            raise AcceleratorError("no training has begun", stage=stage, hint="Call TrainlinearStart first.")
        return self._training
