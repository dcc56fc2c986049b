"""Networks that are ready to run, and the two buffers between PutInput and GetResult."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np

from tilewright.errors import RequestTimeoutError

from ....artifact.artifact import Artifact
from ....artifact.manifest import TensorSpec
from ....execution.buffers import Outputs
from ....in_order import InOrder, Run
from ....native.host import processors
from ...deadlock import nobody_else
from ...network import Sessions, accelerator_engine
from ..facts import Network
from .arrays import Image, Results, elements, images_of
from .binary import Batch

SOFTWARE, FLOAT = "software", "float"

Counts = int | tuple[int, ...]
"""Elements of an output, or of each of several, for the images that a cluster takes at once."""

Check = Callable[[Sequence[Sequence[Image]]], None]


class LoadedNetwork(Network):
    """A network, and a session for each engine that has been asked for.

    Attributes:
        batch: the images that it was compiled for.
        engine: what `Run` computes with.
        sessions: one for each engine that has been asked for.
        artifacts: what each engine is loaded from: the artifact, or one of that engine alone with other weights.
    """

    def __init__(
        self, artifact: Artifact, batch: Batch, engine: str | None = None, changed: Mapping[str, Artifact] | None = None
    ) -> None:
        super().__init__(artifact)
        self.batch = batch
        held = artifact.manifest.engines
        self.engine = engine if engine is not None and engine in held else accelerator_engine(artifact)
        # Both buffers are computed at once, and as much of a batch as there are processors for.
        workers = min(processors(), max(2, batch.size))
        self.sessions = Sessions(artifact, self.engine, changed, workers=workers)
        self.artifacts = self.sessions.artifacts

    def run(self, images: Sequence[Image], engine: str | None = None) -> list[Outputs]:
        """The outputs for each image. ``engine``: see `Sessions.of`."""
        sessions = [self.sessions.of(image, engine) for image in images]
        if len(images) == 1:
            return [sessions[0].run(images[0])]
        requests = [session.submit(image) for session, image in zip(sessions, images, strict=True)]
        return [request.result() for request in requests]

    def close(self) -> None:
        """End what waits, and the workers."""
        self.sessions.close()


def counts_of(networks: Sequence[tuple[Artifact, Batch]]) -> Counts:
    """How many elements each output of some networks has, as a plain number where there is one."""
    counts = [elements(spec) * batch.images for artifact, batch in networks for spec in artifact.manifest.outputs]
    return counts[0] if len(counts) == 1 else tuple(counts)


class Loaded:
    """The networks of an object, which take their inputs and give their outputs together.
    ``networks``: at least one; they are closed with this.
    ``only_float32``: whether inputs of other types are refused.
    ``check``: sees the images of each network before they are computed, and may warn."""

    def __init__(self, networks: Sequence[LoadedNetwork], *, only_float32: bool, check: Check) -> None:
        self.networks = tuple(networks)
        self._check = check
        self._only_float32 = only_float32
        # With what was put: of how many runs of each network the batch is made.
        self._queue: InOrder[tuple[list[int], object]] = InOrder(networks[0].sessions.by(networks[0].engine))

    @property
    def outputs(self) -> list[TensorSpec]:
        return [spec for network in self.networks for spec in network.artifact.manifest.outputs]

    @property
    def counts(self) -> Counts:
        """Those of all outputs."""
        return counts_of([(network.artifact, network.batch) for network in self.networks])

    def run(self, images: object, engine: str | None = None) -> Results:
        """The results of an engine, by default of the one that stands for the accelerator."""
        pairs = zip(self.networks, self._images(images), strict=True)
        return self._results([network.run(each, engine) for network, each in pairs])

    def put(self, images: object | None, userobj: object, *, blocking: bool) -> bool:
        """Submit images, or an end marker instead; whether there was a buffer for them."""
        split = [] if images is None else self._images(images)
        pairs = zip(self.networks, split, strict=False)
        runs: list[Run] = [(network.sessions.of(image), image) for network, each in pairs for image in each]
        tag = [len(each) for each in split], userobj
        try:
            self._queue.put(None if images is None else runs, tag, None if blocking else 0, nobody_else)
        except RequestTimeoutError:
            return False
        return True

    def get(self, *, blocking: bool) -> tuple[Results | None, object] | None:
        """The oldest results, without any for an end marker, and what was put with them; None where none are ready."""
        try:
            outputs, (counts, userobj) = self._queue.get(None if blocking else 0, nobody_else)
        except RequestTimeoutError:
            return None
        if outputs is None:
            return None, userobj
        each = iter(outputs)
        return self._results([list(islice(each, count)) for count in counts]), userobj

    def _images(self, images: object) -> list[list[Image]]:
        inputs = [network.artifact.manifest.inputs for network in self.networks]
        found = images_of(images, inputs, only_float32=self._only_float32)
        self._check(found)
        return found

    @np.errstate(over="ignore")
    def _results(self, outputs: Sequence[Sequence[Outputs]]) -> Results:
        return [
            [run[spec.name].astype(np.float32, copy=False) for run in runs]
            for network, runs in zip(self.networks, outputs, strict=True)
            for spec in network.artifact.manifest.outputs
        ]

    def busy(self) -> bool:
        """Whether anything that was put is being computed."""
        return self._queue.computing()

    def close(self) -> None:
        """End what waits, and the workers."""
        self._queue.close()
        for network in self.networks:
            network.close()
