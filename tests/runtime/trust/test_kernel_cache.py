"""Kernels that were generated again are kept, for this user and this processor alone, within bounds."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from pathlib import Path

import pytest
from artifact_samples import (
    compile_object,
    program_object,
    small_artifact,
    small_manifest,
    small_sections,
    with_compiler,
)

import tilewright
from tilewright.errors import KeyWarning, RegenerationWarning, TrustError
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.execution.cpu import CodePolicy, object_code
from tilewright.runtime.native import host
from tilewright.runtime.trust import kernel_cache, machine_key
from tilewright.runtime.trust.kernel_cache import Entry

ENTRY = Entry(bytes(32), "main", "1.0", "linux x86_64 avx2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kernels of the present user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tilewright" / "kernels"


def test_what_is_stored_comes_back(cache: Path) -> None:
    assert ENTRY.load() is None
    assert not cache.exists()
    ENTRY.store(b"object", 4096, b"data")
    assert ENTRY.load() == (b"object", 4096, b"data")
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    ENTRY.store(b"", 0, b"")
    assert ENTRY.load() == (b"", 0, b"")


@pytest.mark.parametrize(
    "other",
    [
        ENTRY._replace(digest=b"\1" * 32),
        ENTRY._replace(program="other"),
        ENTRY._replace(version="1.1"),
        ENTRY._replace(processor="linux x86_64"),
    ],
)
def test_entries_are_for_one_artifact_program_version_and_processor(cache: Path, other: Entry) -> None:
    ENTRY.store(b"object", 4096, b"data")
    assert other.load() is None
    other.store(b"other", 1, b"")
    assert ENTRY.load() == (b"object", 4096, b"data")
    # Not even under another's name.
    ours, theirs = sorted(cache.iterdir(), key=lambda file: file.stat().st_size, reverse=True)
    theirs.write_bytes(ours.read_bytes())
    assert other.load() is None


def test_what_others_could_have_written_counts_for_nothing(cache: Path, configuration: Path) -> None:
    ENTRY.store(b"object", 4096, b"data")
    (file,) = cache.iterdir()
    content = file.read_bytes()
    for position in (0, 31, 32, 39, 40, 47, 48, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 1
        file.write_bytes(damaged)
        assert ENTRY.load() is None
    for length in (0, 1, 32, 39, 40, 48, len(content) - 1):
        file.write_bytes(content[:length])
        assert ENTRY.load() is None
    file.write_bytes(content)
    assert ENTRY.load() == (b"object", 4096, b"data")
    file.chmod(0o666)
    assert ENTRY.load() is None
    file.unlink()
    file.symlink_to(configuration)
    assert ENTRY.load() is None
    ENTRY.store(b"object", 4096, b"data")
    assert ENTRY.load() == (b"object", 4096, b"data"), "what is damaged is replaced"
    (configuration / "tilewright" / "key").write_bytes(bytes(32))
    assert ENTRY.load() is None


def test_without_a_folder_or_a_key_nothing_is_kept(
    cache: Path, configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_bytes(b"no folder")
    ENTRY.store(b"object", 4096, b"data")
    assert ENTRY.load() is None
    (tmp_path / "cache").unlink()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_bytes(b"no folder")
    ENTRY.store(b"object", 4096, b"data")
    assert ENTRY.load() is None
    assert not cache.exists()


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "KERNEL_CACHE", 1000)
    entries = [ENTRY._replace(program=str(index)) for index in range(4)]
    for seconds, entry in enumerate(entries[:3]):
        entry.store(bytes(200), 0, b"")
        newest = max(cache.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, (seconds, seconds))
    assert entries[0].load() is not None, "and this makes it the youngest"
    entries[3].store(bytes(300), 0, b"")
    assert [entry.load() is not None for entry in entries] == [True, False, True, True]
    ENTRY.store(bytes(2000), 0, b"")
    assert ENTRY.load() is None
    assert [entry.load() is not None for entry in entries] == [True, False, True, True]


def test_what_is_no_kernel_is_not_dropped(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may lead somewhere else."""
    monkeypatch.setattr(kernel_cache, "KERNEL_CACHE", 100)
    documents = tmp_path / "documents"
    documents.mkdir(0o700)
    (documents / "letter").write_bytes(bytes(1000))
    unfinished = documents / f".{'0' * 64}.17-abcd"
    unfinished.write_bytes(bytes(1000))
    cache.parent.mkdir(parents=True)
    cache.symlink_to(documents)
    ENTRY.store(b"object", 0, b"")
    assert (documents / "letter").exists()
    assert not unfinished.exists()
    assert ENTRY.load() == (b"object", 0, b"")


def test_foreign_artifacts_are_generated_once(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = compile_object("define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }")
    content = artifact_bytes(small_manifest(), small_sections(trap))
    (configuration / "tilewright" / "key").unlink()
    calls = with_compiler(monkeypatch, 8192)
    artifact = Artifact.open(content)
    policy = CodePolicy(artifact.judge(), True)
    with pytest.warns(RegenerationWarning):
        assert object_code(artifact, "main", policy) == (program_object(), 8192, b"")
    monkeypatch.setitem(sys.modules, "tilewright.codegen.package", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert object_code(artifact, "main", policy) == (program_object(), 8192, b""), (
            "without the compiler, and silently"
        )
    assert calls == ["main: module @small {}"]
    kept = Entry(artifact.credentials.digest, "0/main", tilewright.__version__, host.description())
    assert kept.load() == (program_object(), 8192, b"")
    with pytest.raises(TrustError, match="regenerate=False"):
        object_code(artifact, "main", CodePolicy(artifact.judge(), False))
    other = Artifact.open(small_artifact(precision="other"))
    (configuration / "tilewright" / "key").write_bytes(bytes(32))
    with pytest.raises(TrustError):
        object_code(other, "main", CodePolicy(other.judge(), True))


def test_nothing_is_kept_of_what_was_changed_after_it_was_signed(
    cache: Path, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_compiler(monkeypatch)
    own = Artifact.open(small_artifact())
    content = b"".join(own.signed(bytes(32), bytes(range(64))))
    (configuration / "tilewright" / "key").unlink()
    artifact = Artifact.open(content)
    for _ in range(2):
        with pytest.warns(
            RegenerationWarning, match="is wrong: it was changed after it was signed; it is generated again"
        ):
            object_code(artifact, "main", CodePolicy(artifact.judge(), True))
    assert not cache.exists()


def test_a_bad_key_is_replaced_when_kernels_are_kept(configuration: Path) -> None:
    (configuration / "tilewright").mkdir(0o700)
    (configuration / "tilewright" / "key").write_bytes(b"short")
    (configuration / "tilewright" / "key").chmod(0o600)
    assert ENTRY.load() is None
    with pytest.warns(KeyWarning, match="a new key takes its place"):
        ENTRY.store(b"object", 1, b"")
    assert ENTRY.load() == (b"object", 1, b"")
    assert machine_key.read() is not None
