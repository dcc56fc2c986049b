"""The modules that programs import, in one table, and a finder of them that is asked before everything else; and
running a file as Python's own command line would.
"""

import builtins
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import BuiltinImporter, ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from types import ModuleType, TracebackType
from typing import NamedTuple

_NUMPY_NAMES = ("bool", "complex", "float", "int", "object", "str")
"""Names for Python's own types, which NumPy dropped in 1.24."""


def restore_numpy_names(numpy: ModuleType) -> None:
    """Give NumPy its old names back where they are gone."""
    for name in _NUMPY_NAMES:
        vars(numpy).setdefault(name, vars(builtins)[name])


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


API = __name__.rsplit(".", 2)[0]
"""The package that holds the APIs."""

BOUND = {
    "fwdnxt": "accelerator",
    "microndla": "accelerator",
    "microndla.microndla": "accelerator",
    "pynq": "pynq",
    "pynq.pmbus": "pynq.pmbus",
    "simulator": "simulator",
    "simulator.api": "simulator.api",
    "simulator.schema": "simulator.schema",
    "simulator.schema.base": "simulator.schema.base",
    "openvino.inference_engine": "inference_engine",
    "openvino.inference_engine.ie_api": "inference_engine",
    "openvino.inference_engine.constants": "inference_engine.constants",
    "inference_engine": "inference_engine",
    "kp": "kp",
    "kp.KPBaseClass": "kp.members",
    "kp.KPBaseClass.ValueBase": "kp.members",
    "kp.KPConstant": "kp.enums",
    "kp.KPEnum": "kp.enums",
    "kp.KPException": "kp.exceptions",
    "kp.KPValue": "kp.values",
    "kp.Legacy": "kp",
    "kp.Legacy.V1": "kp",
    "kp.Legacy.V1.KPValue": "kp.values",
    "kp.core": "kp.core",
    "kp.inference": "kp.inference",
    "kp.v1": "kp",
    "kp.v1.inference": "kp.inference",
}
"""Module as programs know it: module below `API`."""

SHARED = {name.partition(".")[0] for name in BOUND} - BOUND.keys()
"""Packages that keep what is installed under their name and are given modules of ours."""


def stands_for(name: str) -> str:
    """The full name of the module that stands in for ``name``, which is in `BOUND`."""
    return f"{API}.{BOUND[name]}"


def bind() -> None:
    """Bind the names in this process; nothing of what stands for them is imported before somebody asks."""
    sys.meta_path.insert(0, _Finder())
    for name, adapt in _AFTER.items():
        if name in sys.modules:
            adapt(sys.modules[name])


_AFTER: dict[str, Callable[[ModuleType], None]] = {
    "numpy": restore_numpy_names,
    "multiprocessing.spawn": lambda module: bind_children(module, bind),
    # A fork server, which binds no names, does not import the program; its children do so themselves.
    "multiprocessing.forkserver": lambda module: module.set_forkserver_preload([]),
}
"""What is done to modules that others provide, once they have been imported."""


class _Finder(MetaPathFinder):
    """Finds the bound names, the packages that share theirs, and the modules to adapt."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in BOUND:
            is_package = any(name.startswith(f"{fullname}.") for name in BOUND)
            return spec_from_loader(fullname, _FaceLoader(), origin=stands_for(fullname), is_package=is_package)
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


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

STDIN = "-"


class Script(NamedTuple):
    """A program as it was read.

    Attributes:
        given: its path as given, or ``-``.
        file: the path that its ``__file__`` tells.
        folder: what goes first on ``sys.path``.
        source: the content.
    """

    given: str
    file: str
    folder: str
    source: bytes


def read_script(given: str) -> Script:
    """Read a file, or standard input for ``-``. Raises OSError: it cannot be read."""
    if given == STDIN:
        return Script(given, "<stdin>", "", sys.stdin.buffer.read())
    # As Python has it: absolute, otherwise as given; the folder is that of the file which a link leads to.
    file = os.path.join(os.getcwd(), given)
    with io.open_code(file) as stream:
        return Script(given, file, os.path.dirname(os.path.realpath(file)), stream.read())


def run_script(script: Script, arguments: Sequence[str]) -> None:
    """Run a program as the module ``__main__``.

    The process is the program's from here on: ``sys.argv``, ``sys.path`` and ``sys.modules`` are changed for good.
    Raises BaseException: whatever the program raises. `sys.excepthook` then shows its frames alone."""
    sys.argv[:] = [script.given, *arguments]
    # `python -P` and `python -I` put no folder first.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = script.folder
    module = _main_module(script)
    try:
        exec(compile(script.source, script.file, "exec", dont_inherit=True), vars(module))
    except BaseException:
        sys.excepthook = _of_the_program(sys.excepthook, module)
        raise


def _main_module(script: Script) -> ModuleType:
    """The module as Python makes it for a program, in the place of ours."""
    module = ModuleType("__main__")
    module.__file__ = script.file
    module.__loader__ = BuiltinImporter if script.given == STDIN else SourceFileLoader("__main__", script.file)
    vars(module).update(__builtins__=builtins, __cached__=None)
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    sys.modules["__main__"] = module
    return module


def _of_the_program(hook: Hook, module: ModuleType) -> Hook:
    """The hook, given tracebacks without what is ours: what led to the module, and the finder of the names."""

    def show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        shown: TracebackType | None = None
        for each in reversed([*_from(traceback, module)]):
            if not str(each.tb_frame.f_globals.get("__name__")).startswith(f"{__package__}."):
                each.tb_next, shown = shown, each
        hook(kind, error.with_traceback(shown), shown)

    return show


def _from(traceback: TracebackType | None, module: ModuleType) -> Iterator[TracebackType]:
    """The entries from the module on; there is none where it was not reached, as with a syntax error."""
    while traceback is not None and traceback.tb_frame.f_globals is not vars(module):
        traceback = traceback.tb_next
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
