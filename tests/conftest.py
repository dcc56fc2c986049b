"""What every test may use: seeded random numbers, golden files, the optional data folder."""

from __future__ import annotations

import gc
import os
import signal
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

# Before numpy is imported: threads of its own in each process of the tests, which share the processors, only wait for
# one another, and turn meanwhile. Programs that tests start have it from here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TILEWRIGHT_THREADS", "1")
# numba colours each message of a type that fits not before it tries the next one, by a library that development brings.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

import numpy as np
import pytest
import round_trip
from _pytest.runner import runtestprotocol
from shared_bytecode import cache_of, shared_bytecode
from shared_files import folder_of_all_workers

GOLDEN = Path(__file__).parent / "golden"

if "tilewright.passes.base" in sys.modules:
    raise RuntimeError("passes were imported before the round trip was put behind verify(), and would go around it")
round_trip.install()

# Imports passes, and so only now.
from quick_plans import quick_plans  # noqa: E402
from shared_kernels import forget_objects, shared_kernels  # noqa: E402


def pytest_configure() -> None:
    """Signals reach the programs that tests start also where a shell has them ignored: in the background, by nohup."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    # Until all tests are there, for they all stay. Around the process of `-n`, too, which collects none.
    gc.disable()
    cache = cache_of(session.config)
    try:
        with shared_bytecode(session.config, cache.mkdir("bytecode")) if cache else nullcontext():
            return (yield)
    finally:
        # What is there before the first test stays: every full collection of garbage would walk through it again.
        gc.freeze()
        gc.enable()
        # A compilation makes some hundred thousand objects that all stay for as long as it lasts.
        gc.set_threshold(50_000, 20, 100)


def pytest_collection_finish() -> None:
    if "hypothesis" in sys.modules and "property_tests" not in sys.modules:
        raise pytest.UsageError("import hypothesis from property_tests, or its examples differ from run to run")


NOTICED = 0.1
"""Seconds from which on a setup or teardown is told of."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A process of `-n` tells once of a test that passes, not five times: two fifths of what pytest adds to a test."""
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration > NOTICED:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what the tests found")


@pytest.fixture(autouse=True)
def every_module_round_trips() -> Iterator[None]:
    """Prints, parses and compares what the test built and did not verify itself."""
    with round_trip.every_new_module():
        yield


@pytest.fixture(autouse=True, scope="session")
def no_kernels_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test takes generated kernels from the user's cache or leaves some there."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "tilewright").write_bytes(b"no folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture(autouse=True, scope="session")
def bytecode_of_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that tests start compile modules once, also where Python must leave no bytecode beside the sources."""
    if not sys.dont_write_bytecode:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(folder_of_all_workers(tmp_path_factory) / "bytecode"))
        yield


@pytest.fixture(autouse=True, scope="session")
def kernels_are_compiled_once(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For all workers, for the programs that tests start, and for later runs."""
    cache = cache_of(pytestconfig)
    with shared_kernels(cache.mkdir("kernels") if cache else folder_of_all_workers(tmp_path_factory) / "kernels"):
        yield


@pytest.fixture(autouse=True, scope="module")
def objects_are_of_one_module() -> None:
    """Tests about kernels do not meet what others had made without LLVM's optimisations."""
    forget_objects()


@pytest.fixture(autouse=True, scope="module")
def schedules_are_made_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where no test is about them."""
    with quick_plans(request.node.nodeid):
        yield


@pytest.fixture(autouse=True, scope="session")
def forms_are_taken_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By all workers together."""
    round_trip.share_forms(folder_of_all_workers(tmp_path_factory))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator whose seed is the test's name: the same numbers in each run, other ones in each test."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of larger models and images that ``TILEWRIGHT_DATA`` names; tests that need it are skipped without."""
    folder = os.environ.get("TILEWRIGHT_DATA")
    if not folder:
        pytest.skip("TILEWRIGHT_DATA names no data folder")
    if not Path(folder).is_dir():
        pytest.fail(f"TILEWRIGHT_DATA names {folder!r}, which is no folder")
    return Path(folder)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)`` fails unless ``text`` is what the file ``tests/golden/name`` holds."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        expected = file.read_text(encoding="utf-8") if file.exists() else ""
        assert text == expected, f"{name} differs; if it is right as it is now, run this test with --update-golden"

    return check
