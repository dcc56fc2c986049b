"""What a program's process gets besides the names: NumPy as it was, and the names in its child processes."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

_NUMPY_NAMES: dict[str, type] = {
    "bool": bool,
    "complex": complex,
    "float": float,
    "int": int,
    "object": object,
    "str": str,
}
"""Names for Python's own types, which NumPy dropped in 1.24."""


def restore_numpy_names(numpy: ModuleType) -> None:
    """Give NumPy its old names back where they are gone."""
    for name, value in _NUMPY_NAMES.items():
        vars(numpy).setdefault(name, value)


def bind_children(spawn: ModuleType, bind: Callable[[], None]) -> None:
    """Have children that `multiprocessing` starts afresh bind the names before they import the program."""
    prepared = spawn.get_preparation_data

    def with_names(name: str) -> dict[str, object]:
        # The child reads it by pickle, and a key that it does not know it passes over.
        return {"tilewright": _Unpickled(bind), **prepared(name)}

    vars(spawn)["get_preparation_data"] = with_names


class _Unpickled:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return self._function, ()


def pickle_no_main(forkserver: ModuleType) -> None:
    """Keep a fork server, which binds no names, from importing the program; its children do so themselves."""
    forkserver.set_forkserver_preload([])
