"""Which artifacts may bring native code."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

import pytest
from artifact_samples import small_artifact

from tilewright.errors import ArtifactError
from tilewright.runtime.artifact.artifact import Artifact, trust


def test_own_artifacts_are_trusted(configuration: Path) -> None:
    artifact = Artifact.open(small_artifact())
    assert artifact.trusted
    key = configuration / "tilewright" / "key"
    assert trust.key_path() == key
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    assert os.listdir(key.parent) == ["key"]


def test_the_key_is_made_once() -> None:
    assert trust.sign(b"digest") == trust.sign(b"digest") != trust.sign(b"other")


def test_artifacts_of_others_are_not_trusted(configuration: Path) -> None:
    content = small_artifact()
    key = configuration / "tilewright" / "key"
    key.write_bytes(bytes(32))
    assert Artifact.open(content).trust_objection == "it was not made by this user on this machine"
    key.unlink()
    assert Artifact.open(content).trust_objection == f"this user has no key of their own at {key}"
    assert not (configuration / "tilewright" / "key").exists(), "loading must not make a key"


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_key_that_others_can_read_counts_for_nothing(configuration: Path, mode: int) -> None:
    content = small_artifact()
    (configuration / "tilewright" / "key").chmod(mode)
    assert Artifact.open(content).trust_objection
    assert trust.sign(b"digest") is None


def test_a_linked_or_short_key_counts_for_nothing(configuration: Path, tmp_path: Path) -> None:
    content = small_artifact()
    key = configuration / "tilewright" / "key"
    key.rename(tmp_path / "moved")
    key.symlink_to(tmp_path / "moved")
    assert Artifact.open(content).trust_objection
    key.unlink()
    (tmp_path / "moved").rename(key)
    assert Artifact.open(content).trust_objection is None
    key.write_bytes(b"short")
    assert Artifact.open(content).trust_objection


def test_without_a_writable_folder_artifacts_are_written_untrusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    objection = Artifact.open(small_artifact()).trust_objection
    assert objection == "it was written without a tag, where no key could be kept"


def test_a_forged_tag_is_untrusted_and_a_damaged_one_is_an_error() -> None:
    content = bytearray(small_artifact())
    content[70] ^= 1
    with pytest.raises(ArtifactError, match="the checksum of its header is wrong"):
        Artifact.open(content)
    content[20:24] = bytes(4)
    content[20:24] = zlib.crc32(content[:128]).to_bytes(4, "little")
    assert Artifact.open(content).trust_objection


def test_code_that_changes_after_loading_is_not_handed_out(tmp_path: Path) -> None:
    """Native code is taken from a private copy that has been compared with the hash under the digest."""
    path = tmp_path / "a.twa"
    path.write_bytes(small_artifact())
    artifact = Artifact.open(path, copy=False)
    with open(path, "r+b") as file:
        file.seek(artifact.sections["main.code"].offset + 100)
        file.write(b"other")
    with pytest.raises(ArtifactError, match=r"the SHA-256 of section 'main\.code' is wrong"):
        artifact.copy("main.code")
