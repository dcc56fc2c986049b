"""Binding of the names: a finder that is asked before everything that is installed or lies on ``sys.path``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType

from .names import API, BOUND, SHARED, is_package, stands_for
from .process import bind_children, pickle_no_main, restore_numpy_names


def bind() -> None:
    """Bind the names in this process; nothing of what stands for them is imported before somebody asks."""
    sys.meta_path.insert(0, _Finder())
    for name, adapt in _AFTER.items():
        if name in sys.modules:
            adapt(sys.modules[name])


_AFTER: dict[str, Callable[[ModuleType], None]] = {
    "numpy": restore_numpy_names,
    "multiprocessing.spawn": lambda module: bind_children(module, bind),
    "multiprocessing.forkserver": pickle_no_main,
}
"""What is done to modules that others provide, once they have been imported."""


class _Finder(MetaPathFinder):
    """Finds the bound names, the packages that share theirs, and the modules to adapt."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in BOUND:
            if find_spec(".".join((API, BOUND[fullname].partition(".")[0]))) is None:
                raise ImportError(
                    f"Tilewright does not implement the API of {fullname!r} yet; docs/api/README.md lists what it has",
                    name=fullname,
                )
            origin = stands_for(fullname)
            return spec_from_loader(fullname, _FaceLoader(), origin=origin, is_package=is_package(fullname))
        if fullname in SHARED:
            found = self._elsewhere(fullname, path, target)
            if found is not None and found.submodule_search_locations is not None:
                return found
            return spec_from_loader(fullname, _EmptyLoader(), is_package=True)
        if fullname in _AFTER:
            found = self._elsewhere(fullname, path, target)
            if found is not None and found.loader is not None:
                found.loader = _AdaptingLoader(found.loader, _AFTER[fullname])
            return found
        return None

    def _elsewhere(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """What the import would find without this finder."""
        for finder in sys.meta_path:
            if not isinstance(finder, _Finder) and hasattr(finder, "find_spec"):
                found = finder.find_spec(name, path, target)
                if found is not None:
                    return found
        return None


class _Face(ModuleType):
    """A module whose attributes are those of another one, and the modules bound below its name."""

    __all__: list[str]

    def __getattr__(self, name: str) -> object:
        whole = f"{self.__name__}.{name}"
        if whole in BOUND:
            return import_module(whole)
        source = self.__dict__.get("_source")
        # Not its special attributes: with its path, a second copy of each of its modules could be imported.
        if (not name.startswith("__") or name == "__version__") and hasattr(source, name):
            return getattr(source, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__all__} - {"_source"})


class _FaceLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Face(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        source = import_module(stands_for(module.__name__))
        public = [name for name in dir(source) if not name.startswith("_")]
        vars(module).update(
            _source=source, __doc__=source.__doc__, __file__=source.__file__, __all__=getattr(source, "__all__", public)
        )


class _EmptyLoader(Loader):
    """Makes a package that has nothing of its own."""

    def exec_module(self, module: ModuleType) -> None:
        pass


class _AdaptingLoader(Loader):
    """Adapts a module after its own loader has executed it, and leaves no other trace."""

    def __init__(self, loader: Loader, adapt: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._adapt = adapt

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._adapt(module)
