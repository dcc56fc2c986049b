"""What both generations of the Accelerator API share: an object with its flags, its cards and its networks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

import numpy as np

from ...artifact.artifact import Artifact
from ...execution.device import check_machine
from ...machines import machine as machines
from ..cards import CARDS, Claim, claim
from .debug_report import DebugReport
from .errors import AcceleratorError, documented
from .facts import Facts, Generation
from .flags import Flags
from .information import Answer, get_information
from .memory import CardMemory, with_weights
from .networks.arrays import Results
from .networks.binary import Batch
from .networks.loaded import FLOAT, SOFTWARE, Loaded, LoadedNetwork

_ENGINES = {1: SOFTWARE, 2: FLOAT}
"""What Run computes with by the flag ``runsw``, where that is not 0."""


def check_path(name: str, value: object, stage: str = "Compile") -> str:
    """An argument that has to be a path. Raises AcceleratorError: it is none."""
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        if isinstance(path, str) and "\0" not in path:
            return path
    raise AcceleratorError(f"{name} is no path", stage=stage, expected="text", found=f"{value!r:.60}")


class Accelerator:
    """An accelerator: one network, or several that were loaded together, on cards of its own.

    Each object takes the next virtual card when it loads a network; there are as many as are asked for. All methods may
    be called from several threads.
    ``handle``: the clusters that it holds, for ``cmem`` of another object; None while it has no network."""

    _generation: Generation

    def __init__(self) -> None:
        if not hasattr(self, "_generation"):
            raise TypeError("Accelerator is what FWDNXT and MDLA have in common: make one of these")
        self._flags = Flags()
        machine = machines.load(machines.DEFAULT)
        self._facts = Facts(self._flags, self._generation, machine, most_cards=CARDS, busy=self._busy)
        self._report = DebugReport(self._facts)
        self._memory = CardMemory(self._facts)
        # Of what is loaded: whoever computes with it meanwhile keeps it.
        self._changing = threading.RLock()
        self._loaded: Loaded | None = None
        self.handle: Claim | None = None

    @documented
    def SetFlag(self, name: str | bytes | Mapping[str, object], value: object = "") -> None:
        """Set a flag, or with a dictionary several; values are texts or numbers. Where one is wrong, none is set.

        Original: the second generation took texts only, and the dictionary came with the third."""
        with self._changing:
            self._flags.set(name, value, self._choose_machine)
            if self._loaded is None:
                self._facts.batch = self._batch()

    @documented
    def GetInfo(self, name: str | bytes) -> Answer:
        """What the device, the network or a flag is, by the table of ``GetInfo``."""
        return get_information(name, self._facts)

    @documented
    def Free(self) -> None:
        """Give the cards back; waiting calls end with an error. The object may be used again.

        Original: a second call crashed."""
        with self._changing:
            self._unload()
            self._facts.batch = self._batch()

    def get_handle(self) -> Claim | None:
        """What the object holds of the cards, for ``cmem`` of another; None while it has no network."""
        return self.handle

    def _unload(self) -> Claim | None:
        """Give everything back; what was held of the cards."""
        loaded, self._loaded = self._loaded, None
        held, self.handle = self.handle, None
        self._facts.networks = ()
        if loaded is not None:
            loaded.close()
        if held is not None:
            held.free()
        return held

    def _batch(self, cards: int = 1, clusters: int = 1) -> Batch:
        """The batch by the flags, or by arguments that are not 1."""
        flags = self._flags
        return Batch(
            cards if cards != 1 else flags.nfpgas,
            clusters if clusters != 1 else flags.nclusters,
            flags.imgs_per_cluster,
            flags.clustersbatchmode,
        )

    def _choose_machine(self, bitfile: str) -> None:
        """Read the description of the machine that the card is from now on."""
        self._facts.machine = machines.load(bitfile or machines.DEFAULT)

    @contextmanager
    def _with_machine(self, bitfile: str) -> Iterator[None]:
        """Choose a machine, if one is named, for good unless what follows fails."""
        before = self._flags.bitfile, self._facts.machine
        if check_path("bitfile", bitfile, "Init"):
            self._choose_machine(bitfile)
            self._flags.bitfile = bitfile
        try:
            yield
        except BaseException:
            self._flags.bitfile, self._facts.machine = before
            raise

    def _load(self, networks: Sequence[tuple[Artifact, Batch]], beside: object = None) -> Loaded:
        """Make networks ready to run, in place of those that are loaded.
        ``beside``: the object, or what it holds, whose cards these networks are to share."""
        start = perf_counter()
        beside = beside.handle if isinstance(beside, Accelerator) else beside
        if beside is not None and not isinstance(beside, Claim):
            expected, found = "an object of this API, or its handle", type(beside).__name__
            raise AcceleratorError("nothing to share cards with", stage="Init", expected=expected, found=found)
        if self._flags.bitfile:
            for artifact, _ in networks:
                if "device" in artifact.manifest.engines:
                    check_machine(artifact, artifact.manifest.engines["device"], self._facts.machine)
        engine = "device" if self._flags.fpgaid == "sim" else None
        with self._changing:
            ready = [LoadedNetwork(artifact, batch, engine) for artifact, batch in networks]
            former = self._unload()
            batch, programs = networks[0][1], [*ready[0].programs.values()]
            if not self._flags.bitfile:
                self._facts.machine = programs[0][0].machine if programs else machines.load(machines.DEFAULT)
            self.handle = claim(
                cards=batch.cards,
                clusters=batch.clusters,
                first_cluster=self._flags.firstcluster or None,
                beside=beside,
                former=former,
                clusters_per_card=self._facts.machine.clusters,
            )
            self._loaded = self._together(ready)
            self._facts.networks, self._facts.batch = ready, batch
            self._facts.card = self.handle.cards[0]
            self._facts.init_seconds = perf_counter() - start
            self._report.initialised()
            return self._loaded

    def _together(self, networks: Sequence[LoadedNetwork]) -> Loaded:
        return Loaded(networks, only_float32=self._generation == 2, check=self._report.before_run)

    def _write_weights(self, weights: np.ndarray, bias: np.ndarray | None, node: int) -> None:
        """Load the network again with other weights in a layer; what was put and not yet taken is lost."""
        with self._changing:
            loaded = self._ready("WriteWeights")
            if len(loaded.networks) != 1:
                found = len(loaded.networks)
                raise AcceleratorError("weights of which network?", stage="WriteWeights", expected="one", found=found)
            (network,) = loaded.networks
            changed = with_weights(network.artifacts, weights, bias, node, warnings="w" in self._flags.debug)
            ready = LoadedNetwork(network.artifact, network.batch, network.engine, changed)
            self._loaded, self._facts.networks = self._together([ready]), [ready]
            loaded.close()

    def _ready(self, stage: str) -> Loaded:
        loaded = self._loaded
        if loaded is None:
            hint = "Init loads one" if self._generation == 2 else "Compile or Init loads one"
            raise AcceleratorError("no network is loaded", stage=stage, hint=f"{hint}.")
        return loaded

    def _run(self, images: object, engine: str | None = None) -> Results:
        start = perf_counter()
        loaded = self._ready("Run")
        results = loaded.run(images, engine or _ENGINES.get(self._flags.runsw))
        self._facts.run_seconds = perf_counter() - start
        if engine is None:
            self._report.ran(images, loaded.outputs, results, lambda other: loaded.run(images, other))
        return results

    def _busy(self) -> bool:
        loaded = self._loaded
        return loaded is not None and loaded.busy()

    @documented
    def PutInput(self, images: object, userobj: object) -> bool:
        """Copy images into a free buffer and start computing; None instead of them marks the end of a stream.

        There are two buffers. With `blockingmode` 1 it waits for one, as long as any other thread may still call
        ``GetResult``, and raises where none can; with 0 it returns False at once. An end marker needs no buffer.

        Original: waited for ever where nobody could call ``GetResult``."""
        return self._ready("PutInput").put(images, userobj, blocking=self._flags.blockingmode)

    def _get(self) -> tuple[Results | None, object] | None:
        return self._ready("GetResult").get(blocking=self._flags.blockingmode)

    @documented
    def WriteData(self, addr: int | np.integer, data: np.ndarray, card: int | np.integer = 0) -> None:
        """Write the bytes of an array into the memory of a card, as they are.

        What networks hold that ``Init`` loaded lies elsewhere and does not change.

        Original: converted float32 to the numbers of the device."""
        with self._changing:
            self._memory.write(addr, data, card)

    @documented
    def ReadData(self, addr: int | np.integer, data: np.ndarray, card: int | np.integer = 0) -> None:
        """Fill an array with the bytes from an address of a card on, 0 where nothing was written."""
        with self._changing:
            self._memory.read(addr, data, card)
