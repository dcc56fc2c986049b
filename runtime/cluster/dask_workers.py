"""A function of many items, computed by the workers of a Dask cluster.

The function goes to each worker once, as a plugin, which the scheduler also gives to those that come later or start
again. What a worker that died was given, another one is; a task that ends several of them has failed.
"""

import asyncio
import pickle
import uuid
from typing import Any

from distributed import Client, Future, WorkerPlugin, as_completed, get_worker

import tilewright
from tilewright.blocks import cached_property
from tilewright.errors import TilewrightError

from .processes import Answers, Failed, Function, Queue, attempt, pickle_of

_PATIENCE = 30
"""Seconds to wait for a scheduler and its first worker."""


class ClusterError(TilewrightError):
    """There is no cluster, or it is not fit for the work."""


class _Held(WorkerPlugin):
    """What a worker keeps of a job."""

    def __init__(self, function: bytes) -> None:
        self._pickled, self._version = function, tilewright.__version__

    @cached_property
    def _function(self) -> Function:
        if tilewright.__version__ != self._version:
            what = "a worker of the cluster has another version of Tilewright"
            raise ClusterError(what, expected=self._version, found=tilewright.__version__)
        return pickle.loads(self._pickled)

    def __call__(self, item: Any) -> Any:
        return self._function(item)


def _compute(job: str, item: Any) -> Any:
    held = get_worker().plugins[job]
    assert isinstance(held, _Held)
    return attempt(held, item)


def on_dask(function: Function, queue: Queue, address: str) -> Answers:
    """What the function makes of the items of the queue.
    Raises ClusterError: no scheduler answers, or it has no worker; UsageError: the function is what no other process
    can be told."""
    job, pickled = f"tilewright-{uuid.uuid4().hex}", pickle_of(function)
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except OSError as error:
        raise ClusterError("no scheduler of Dask answers", expected=f"one at {address}", found=error) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except asyncio.TimeoutError:
            hint = "Start one: dask worker ADDRESS."
            raise ClusterError("the cluster has no worker", found=address, hint=hint) from None
        client.register_plugin(_Held(pickled), name=job)
        working: dict[Future, int] = {}
        ended = as_completed(loop=client.loop)
        try:
            while True:
                while queue:
                    number, item = queue.popleft()
                    future = client.submit(_compute, job, item, pure=False)
                    working[future] = number
                    ended.add(future)
                if not working:
                    return
                future = next(ended)
                number = working.pop(future)
                try:
                    answer = future.result()
                except Exception as error:
                    answer = Failed(None, f"{type(error).__name__}: {error}")
                yield number, answer
        finally:
            client.cancel([*working])
            client.unregister_worker_plugin(job)
