"""Packed artifacts: what is written comes back, and nothing damaged is accepted."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from artifact_samples import small_artifact, small_manifest, small_sections

from tilewright.errors import ArtifactError, ResourceError
from tilewright.runtime.artifact.artifact import Artifact, write_artifact
from tilewright.runtime.artifact.container import packed


def packed_small() -> bytes:
    return b"".join(packed([small_artifact()]))


@pytest.mark.parametrize("copy", [True, False])
def test_the_artifact_inside_is_the_same(tmp_path: Path, copy: bool) -> None:
    write_artifact(tmp_path / "packed.twa", small_manifest(), small_sections(), is_packed=True)
    content = (tmp_path / "packed.twa").read_bytes()
    assert content == packed_small()
    assert len(content) < len(small_artifact()) / 2
    for found in (Artifact.open(tmp_path / "packed.twa", copy=copy), Artifact.open(content)):
        assert found.packed and not found.mapped
        assert found.digest == Artifact.open(small_artifact()).digest
        assert found.section("main.constants").readonly
        assert found.length == len(small_artifact())
    assert not Artifact.open(small_artifact()).packed


@pytest.mark.parametrize("end", [16, 17, 200, -1])
def test_one_that_was_cut_off_is_refused(tmp_path: Path, end: int) -> None:
    (tmp_path / "cut.twa").write_bytes(packed_small()[:end])
    with pytest.raises(ArtifactError, match=r"cut\.twa is damaged: it cannot be unpacked"):
        Artifact.open(tmp_path / "cut.twa")


@pytest.mark.parametrize("by", [-1, 1, 1 << 40, (1 << 64) - 1 - len(small_artifact())])
def test_a_length_that_is_not_its_own_is_refused(by: int) -> None:
    length = len(small_artifact()) + by
    with pytest.raises(ArtifactError, match=f"cannot be unpacked; expected {length} bytes, found "):
        Artifact.open(packed_small()[:8] + struct.pack("<Q", length) + packed_small()[16:])


def test_bytes_behind_it_and_those_of_another_kind_are_refused() -> None:
    for content in (packed_small() + b"\0", packed_small()[:16] + b"no stream"):
        with pytest.raises(ArtifactError, match="cannot be unpacked"):
            Artifact.open(content)


def test_what_unpacks_to_more_than_it_says_is_refused() -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    with pytest.raises(ArtifactError, match="expected 4096 bytes, found more"):
        Artifact.open(packed_small()[:8] + struct.pack("<Q", 4096) + bomb)


def test_the_memory_limit_is_that_of_the_artifact_inside(tmp_path: Path) -> None:
    size = len(small_artifact())
    (tmp_path / "small.twa").write_bytes(packed_small())
    for source in (packed_small(), tmp_path / "small.twa"):
        with pytest.raises(ResourceError, match=f"expected at most {size - 1} bytes, found {size} bytes of artifact"):
            Artifact.open(source, memory_limit=size - 1)
        assert Artifact.open(source, memory_limit=size).packed
