"""Where many items are computed: by processes of this machine, or by the workers of a cluster."""

from __future__ import annotations

from tilewright.errors import UsageError

from ..compiler import NotInstalledError
from .processes import Answers, Function, Queue, in_processes

LOCAL = "local"
_DASK = "dask://"


def answers(function: Function, queue: Queue, on: str = LOCAL, workers: int = 1) -> Answers:
    """What a function makes of the items of a queue, in any order, each with its number.

    Args:
        on: `LOCAL`, or ``dask://HOST:PORT`` of the scheduler of a Dask cluster, whose workers have Tilewright.
        workers: processes, where they are local.

    Raises:
        UsageError: there is no such place, or the function is what no other process can be told.
        NotInstalledError: Dask is not installed.
        ClusterError: there is no cluster with workers.
    """
    if on == LOCAL:
        return in_processes(function, queue, workers)
    host, _, port = on.removeprefix(_DASK).rpartition(":")
    if not on.startswith(_DASK) or not host or not port.isdecimal():
        raise UsageError("there is no such place to compute", expected=f"{LOCAL} or {_DASK}HOST:PORT", found=on)
    try:
        from .dask_workers import on_dask
    except ModuleNotFoundError as error:
        raise NotInstalledError("computing on a Dask cluster", error.name or "distributed") from None
    return on_dask(function, queue, f"tcp://{host}:{port}")
