"""What a module of an API offers to programs: the names that it defines itself."""

from collections.abc import Mapping
from types import FunctionType


def own_names(module: Mapping[str, object]) -> list[str]:
    """Classes and functions of a module, but for those that it only imports or whose names begin with ``_``, in order.

    Args:
        module: its globals, at its end.
    """
    own = [(name, each) for name, each in module.items() if isinstance(each, type | FunctionType)]
    return sorted(name for name, each in own if each.__module__ == module["__name__"] and not name.startswith("_"))
