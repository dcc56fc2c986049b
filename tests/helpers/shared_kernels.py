"""What one process of the tests has compiled for the processor is taken from its files by the others and by later runs.

numba needs a second for the functions of some kernels, LLVM as long for the program of a small network, and the tests
compile the same few networks again and again, in many processes. Both depend on nothing but what they are given: of a
function its code and its element types, of a module of LLVM its text and the target. What numba made is kept before any
optimisation; shapes and attributes enter after it, and what LLVM makes of it then is kept by the text that it is given.
Between runs the files lie in pytest's cache (``pytest --cache-clear`` empties it), for as long as the code stays as it
is that makes them: the package of numba's kernels for what numba makes, that about LLVM for what LLVM makes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple
from unittest import mock

import llvmlite.binding as llvm

import tilewright.codegen.cpu
import tilewright.ir
from tilewright.codegen.cpu import assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.module import optimized
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.codegen.cpu.numba.generation import function as functions
from tilewright.codegen.cpu.numba.generation import nest_kernel
from tilewright.codegen.cpu.numba.generation.function import KernelFunction
from tilewright.ir.types import DType

FOLDERS = "TESTS_SHARED_KERNELS"
"""The environment variable that tells the programs of a test where the files are."""

ABOUT_OTHERS = tuple(f"tests/{name}/" for name in ("api", "compiler", "end_to_end", "passes", "project", "runtime"))
"""Tests that are not about native code: LLVM's code generator does no more there than it must, in a third of the time.
What comes before it, vectors included, is as everywhere; `tests/codegen`, `tests/every_operator`, `tests/fuzz` and
programs that start afresh have it as users do."""

ABOUT_KERNELS = tuple(
    f"tests/{name}.py"
    for name in (
        "compiler/frontend/test_narrow_types",
        "compiler/frontend/test_quantized_products",
        "compiler/test_narrow_weights",
        "compiler/test_wide_activations",
        "end_to_end/test_c_library",
        "end_to_end/test_foreign_artifacts",
        "end_to_end/test_int8_models",
        "end_to_end/test_levels_and_engines",
        "end_to_end/test_models",
        "end_to_end/test_onnx_model_suite",
        "end_to_end/test_outputs",
        "end_to_end/test_random_networks",
        "end_to_end/test_shapes",
        "runtime/test_stored_artifacts",
        "runtime/test_team",
    )
)
"""Tests among them that compare kernels with the reference, or code with what programs make that start afresh."""

_KEPT = 24 * 60 * 60
"""Seconds for which the files of other code than today's are kept."""

_compile = functions._compiled.__wrapped__
_optimize, _link = optimized, assemble._compiled


def _is_quick(target: TargetDescription) -> bool:
    # Tiles have registers of their own, which only the other way is made for.
    plain = target.is_x86_64 and not any(name.startswith("amx") for name in target.features)
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    return plain and test.startswith(ABOUT_OTHERS) and not test.startswith(ABOUT_KERNELS)


@cache
def _quick_machine(target: TargetDescription) -> llvm.TargetMachine:
    create = llvm.Target.create_target_machine

    def quick(self: llvm.Target, **options: Any) -> llvm.TargetMachine:
        return create(self, **{**options, "opt": 0})

    with mock.patch.object(llvm.Target, "create_target_machine", quick):
        return machine.__wrapped__(target)


def _machine(target: TargetDescription) -> llvm.TargetMachine:
    return _quick_machine(target) if _is_quick(target) else machine(target)


class _Folders(NamedTuple):
    """Where what numba makes is, and what LLVM makes."""

    functions: Path
    programs: Path


def _folders(parent: Path) -> _Folders:
    """The folders below ``parent`` for the code as it is; those for other code are removed after a while."""
    native, ir = Path(tilewright.codegen.cpu.__path__[0]), Path(tilewright.ir.__path__[0])
    llvm_files = [*native.glob("llvm/*.py"), native / "assemble.py"]
    sources = {"functions": [*native.glob("numba/**/*.py"), ir / "types.py"], "programs": llvm_files}
    made_by = platform.machine(), platform.python_version(), *(version(name) for name in ("llvmlite", "numba", "numpy"))
    code = {kind: _digest(made_by, [_code(file) for file in sorted(files)]) for kind, files in sources.items()}
    found = _Folders(*(parent / f"{kind}_{code[kind][:16]}" for kind in _Folders._fields))
    for folder in found:
        folder.mkdir(parents=True, exist_ok=True)
    for other in {*parent.iterdir()} - {*found}:
        # Another process may be removing it.
        with suppress(FileNotFoundError):
            if time.time() - other.stat().st_mtime > _KEPT:
                shutil.rmtree(other, ignore_errors=True)
    return found


def _code(file: Path) -> str:
    """What a file does: neither its documentation and comments nor its layout."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            texts = [each for each in body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)]
            node.body = [each for each in body if each not in texts]  # pyright: ignore[reportAttributeAccessIssue]
    return ast.dump(tree)


def _made_once(file: Path, make: Callable[[], bytes]) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        content = make()
    # Complete or not at all, for the others.
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(name).replace(file)
    return content


def _digest(*content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _is_ours(function: KernelFunction) -> bool:
    """Whether the code says everything: what tests write themselves may name what they like."""
    return bool(getattr(function, "source", "")) or function.__module__.startswith("tilewright.codegen.")


def _named(code: CodeType, scope: dict[str, Any]) -> list[tuple[str, object]]:
    """Constants of modules that a function names."""
    known = [(name, scope[name]) for name in code.co_names if name in scope]
    found = [(name, value) for name, value in known if not isinstance(value, ModuleType) and not callable(value)]
    return found + [pair for each in code.co_consts if isinstance(each, CodeType) for pair in _named(each, scope)]


def _shared_functions(folder: Path) -> Callable[..., tuple[str, str]]:
    @cache
    def compiled(
        function: KernelFunction, pointers: tuple[DType, ...], indices: int, fastmath: bool
    ) -> tuple[str, str]:
        if not _is_ours(function):
            return _compile(function, pointers, indices, fastmath)
        code, element_types = function.__code__, [dtype.value for dtype in pointers]
        named = _named(code, function.__globals__)
        key = _digest(functions.origin(function), code.co_code, code.co_consts, named, element_types, indices, fastmath)
        text, symbol = json.loads(
            _made_once(
                folder / f"{key}.json",
                lambda: json.dumps(_compile(function, pointers, indices, fastmath)).encode(),
            )
        )
        return text, symbol

    return compiled


def _shared_optimized(folder: Path) -> Callable[..., str]:
    def optimized(text: str, name: str, target: TargetDescription, apart: Collection[str] = ()) -> str:
        file = folder / f"{_digest(target, name, [*apart], text)}.z"
        content = _made_once(file, lambda: zlib.compress(_optimize(text, name, target, apart).encode(), 1))
        return zlib.decompress(content).decode()

    return optimized


def _shared_programs(folder: Path) -> Callable[..., bytes]:
    def linked(
        main: str,
        visible: Sequence[str],
        kernels: Sequence[Kernel],
        target: TargetDescription,
        report: Callable[[int, int], None],
    ) -> bytes:
        key = _digest(target, _is_quick(target), [*visible], main, [kernel.text for kernel in kernels])
        content = _made_once(folder / f"{key}.o", lambda: _link(main, visible, kernels, target, lambda *_: None))
        for done in range(len(kernels)):
            report(done + 1, len(kernels))
        return content

    return linked


@contextmanager
def shared_kernels(parent: Path) -> Iterator[None]:
    """Keeps what is compiled below ``parent``, which several processes may use at once, for as long as this lasts."""
    folders = _folders(parent)
    with ExitStack() as stack:
        environment = {FOLDERS: os.pathsep.join(map(str, folders))}
        for each in (mock.patch.dict(os.environ, environment), *_sharing(folders)):
            stack.enter_context(each)
        yield


def forget_objects() -> None:
    """What this process remembers of machine code: it does not say whether that was made with or without optimising."""
    assemble._objects.clear()


def share_kernels() -> None:
    """In a program that a test has started: take part in what the tests share, until the program ends."""
    folders = os.environ.get(FOLDERS)
    if folders is not None:
        for each in _sharing(_Folders(*map(Path, folders.split(os.pathsep)))):
            each.start()


def _sharing(folders: _Folders) -> tuple[Any, ...]:
    optimized = _shared_optimized(folders.programs)
    return (
        mock.patch.object(functions, "_compiled", _shared_functions(folders.functions)),
        mock.patch.object(functions, "optimized", optimized),
        mock.patch.object(nest_kernel, "optimized", optimized),
        mock.patch.object(assemble, "_compiled", _shared_programs(folders.programs)),
        mock.patch.object(assemble, "machine", _machine),
    )
