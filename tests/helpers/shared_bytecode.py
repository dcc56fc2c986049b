"""Test modules as pytest rewrites them, with assertions that tell values, are made once for all workers and later runs.

To rewrite all of them takes five seconds, nearly half of what comes before the first test, and each worker did it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest
from _pytest.assertion import rewrite


def cache_of(config: pytest.Config) -> pytest.Cache | None:
    """What is kept between runs; None with `-p no:cacheprovider`, and where it cannot be written."""
    cache = config.cache if config.pluginmanager.has_plugin("cacheprovider") else None
    with suppress(OSError):
        if cache is not None:
            cache.mkdir("bytecode")
        return cache
    return None


@contextmanager
def shared_bytecode(config: pytest.Config, folder: Path) -> Iterator[None]:
    """Keeps what is rewritten below ``folder`` while this lasts; each worker that runs all tests rewrites its share."""

    def place(file: Path) -> Path:
        return folder.joinpath(*file.parts[1:-1])

    with mock.patch.object(rewrite, "get_cache_dir", place):
        worker = getattr(config, "workerinput", None)
        everything = [config.rootpath / each for each in config.getini("testpaths")]
        if worker is not None and [config.rootpath / each for each in config.args] == everything:
            files = [file for each in everything for file in sorted(each.rglob("*.py"))]
            modules = [file for file in files if file.name.startswith("test_") or file.name == "conftest.py"]
            for file in modules[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
                # Collection tells what is wrong with a module. With `--assert=plain` none is rewritten, and another
                # worker may just have begun with `--cache-clear`.
                with suppress(SyntaxError, ValueError, KeyError, OSError):
                    _rewrite(config, file, place(file) / f"{file.stem}{rewrite.PYC_TAIL}")
        yield


def _rewrite(config: pytest.Config, file: Path, compiled: Path) -> None:
    if compiled.exists() and compiled.stat().st_mtime > file.stat().st_mtime:
        return
    compiled.parent.mkdir(parents=True, exist_ok=True)
    source, code = rewrite._rewrite_test(file, config)
    # Complete or not at all, and never taken for another source.
    rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, compiled)
