"""Which artifacts may bring native code."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import compile_object, small_artifact, small_manifest, small_sections

from tilewright.errors import ArtifactError, TrustError, UsageError
from tilewright.runtime import load
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.trust import machine_key, public_keys, signing_key
from tilewright.runtime.trust.credentials import signed_message

HEADER = 256
DIGEST, TAG, PUBLIC_KEY, SIGNATURE = 32, 64, 96, 128


def become(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as another user."""
    user.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user))


def changed(content: bytes, place: int, value: bytes) -> bytes:
    """Other bytes in the header, and its checksum made anew."""
    header = bytearray(content[:HEADER])
    header[place : place + len(value)] = value
    header[20:24] = bytes(4)
    header[20:24] = zlib.crc32(header).to_bytes(4, "little")
    return bytes(header) + content[HEADER:]


def signed(content: bytes) -> bytes:
    """The artifact, signed by the present user."""
    artifact = Artifact.open(content)
    key, signature = signing_key.sign(signed_message(artifact.credentials.digest))
    return b"".join(artifact.signed(key.content, signature))


def reason(content: bytes) -> str:
    """Why its native code is not used."""
    verdict = Artifact.open(content).judge()
    assert not verdict.trusted
    return verdict.reason


def runs(content: bytes, trust: str | None = None) -> bool:
    """Whether its own native code computes."""
    x = np.ones((2, 8), np.float32)
    with load(content, trust=trust, regenerate=False) as session:
        return session.run({"x": x})["y"].shape == (16,)


def test_own_artifacts_are_trusted() -> None:
    verdict = Artifact.open(small_artifact()).judge()
    assert verdict == (True, "it was made by this user on this machine", True)


def test_artifacts_of_others_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = small_artifact()
    become(tmp_path / "other", monkeypatch)
    key = tmp_path / "other" / "tilewright" / "key"
    assert reason(content) == f"this user has no key of their own at {key}, and it is not signed"
    assert not key.exists(), "loading must not make a key"
    small_artifact()
    assert reason(content) == "it was not made by this user on this machine, and it is not signed"
    with pytest.raises(TrustError):
        load(content, regenerate=False)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert reason(content) == "there is no home folder to keep a key in, and it is not signed"


def test_a_zeroed_or_forged_tag_is_untrusted_and_a_damaged_one_is_an_error() -> None:
    content = small_artifact()
    with pytest.raises(ArtifactError, match="the checksum of its header is wrong"):
        Artifact.open(content[:TAG] + bytes([content[TAG] ^ 1]) + content[TAG + 1 :])
    forged = changed(content, TAG, bytes([content[TAG] ^ 1]))
    assert reason(forged) == "it was not made by this user on this machine, and it is not signed"
    assert reason(changed(content, TAG, bytes(32))) == "it carries no tag of a machine, and it is not signed"


def test_a_signature_is_worth_as_much_as_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = signing_key.create("alice@there")
    own = small_artifact()
    content = signed(own)
    assert Artifact.open(content).digest == Artifact.open(own).digest
    assert Artifact.open(content).judge().reason == "it was made by this user on this machine", "the tag stays"
    assert Artifact.open(content).signer == key.text
    become(tmp_path / "bob", monkeypatch)
    small_artifact()
    foreign = "it was not made by this user on this machine, and "
    assert reason(content) == f"{foreign}it is signed by {key.text}, which this user does not trust"
    public_keys.add(key)
    verdict = Artifact.open(content).judge()
    assert verdict == (True, f"it is signed by alice@there ({key.text}), which this user trusts", False)
    assert runs(content)
    for damage in (
        changed(content, DIGEST, bytes(32)),
        changed(content, PUBLIC_KEY, bytes([content[PUBLIC_KEY] ^ 1])),
        changed(content, SIGNATURE, bytes([content[SIGNATURE] ^ 1])),
        changed(content, SIGNATURE + 63, bytes([content[SIGNATURE + 63] ^ 0x80])),
        changed(content, PUBLIC_KEY, bytes(32)),
        changed(content, SIGNATURE, bytes(64)),
    ):
        try:
            artifact = Artifact.open(damage)
        except ArtifactError as error:
            assert "the digest of its section table is wrong" in str(error)
            continue
        assert artifact.signer is None
        assert "is wrong: it was changed after it was signed" in artifact.judge().reason
        assert not artifact.trusted
    public_keys.remove("alice@there")
    assert not Artifact.open(content).trusted


def test_a_signature_of_another_artifact_is_worth_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = signing_key.create("alice")
    content = signed(small_artifact())
    other = small_artifact(precision="other")
    moved = changed(changed(other, PUBLIC_KEY, content[PUBLIC_KEY:SIGNATURE]), SIGNATURE, content[SIGNATURE:192])
    become(tmp_path / "bob", monkeypatch)
    public_keys.add(key)
    assert f"its signature by alice ({key.text}) is wrong: it was changed after it was signed" in reason(moved)


def test_what_a_user_signed_that_user_trusts_elsewhere(configuration: Path) -> None:
    key = signing_key.create("alice")
    content = signed(small_artifact())
    (configuration / "tilewright" / "key").unlink()
    assert Artifact.open(content).judge().reason == f"it is signed by alice ({key.text}), which this user trusts"
    (configuration / "tilewright" / "signing_key").chmod(0o644)
    found = reason(content)
    assert f"it is signed by {key.text}, which this user does not trust (" in found
    assert found.endswith("signing_key counts for nothing: others may use it (mode 644))")


def test_load_requires_what_trust_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = signing_key.create("alice")
    unsigned = small_artifact()
    content = signed(unsigned)
    digest = Artifact.open(content).digest
    other = "sha256:" + "0" * 64
    # Also for artifacts that this user made.
    with pytest.raises(TrustError) as caught:
        load(content, trust=other)
    assert str(caught.value) == (
        f"artifact in memory is not the artifact that is trusted; expected {other}, found {digest}"
    )
    become(tmp_path / "bob", monkeypatch)
    with pytest.raises(TrustError, match="which this user does not trust"):
        runs(content)
    assert runs(content, trust=digest)
    assert runs(content, trust=key.text)
    assert runs(unsigned, trust=digest)
    with pytest.raises(TrustError, match=r"is not signed by the key that is trusted; expected .*, found no signature"):
        load(unsigned, trust=key.text)
    become(tmp_path / "carol", monkeypatch)
    mallory = signing_key.create("mallory")
    with pytest.raises(TrustError, match=f"expected {key.text}, found {mallory.text}"):
        load(signed(unsigned), trust=key.text)
    wrong = changed(content, SIGNATURE, bytes(64))
    with pytest.raises(TrustError, match="the signature of artifact in memory is wrong: it was changed after"):
        load(wrong, trust=key.text)


@pytest.mark.parametrize("trust", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "0" * 64, "0" * 64, 5, b"sha256:"])
def test_trust_of_another_form_is_refused(trust: object) -> None:
    with pytest.raises(UsageError, match="trust names neither a digest nor a public key"):
        load(small_artifact(), trust=trust)  # pyright: ignore[reportArgumentType]


def same_crc(content: bytes, place: int, length: int) -> bytes:
    """Other bytes at a place with the CRC-32 of those that were there: a change of four bytes undone by the next."""
    wanted = zlib.crc32(content[place : place + length])
    start = bytes([content[place] ^ 1]) + content[place + 1 : place + length - 4]
    # CRC-32 is linear: solve for the last four bytes, bit by bit.
    base = zlib.crc32(start + bytes(4))
    columns = [zlib.crc32(start + (1 << bit).to_bytes(4, "little")) ^ base for bit in range(32)]
    target, solution = wanted ^ base, 0
    rows = [(column, 1 << bit) for bit, column in enumerate(columns)]
    for bit in range(32):
        pivot = next(index for index, (column, _) in enumerate(rows) if column >> bit & 1)
        column, combination = rows.pop(pivot)
        rows = [(c ^ column, k ^ combination) if c >> bit & 1 else (c, k) for c, k in rows]
        if target >> bit & 1:
            target, solution = target ^ column, solution ^ combination
    changed = start + solution.to_bytes(4, "little")
    assert zlib.crc32(changed) == wanted
    return content[:place] + changed + content[place + length :]


@pytest.mark.parametrize("section", ["main.constants", "main.code", "main.module"])
def test_a_change_that_keeps_the_checksum_breaks_what_strangers_sign(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CRC-32 tells accidents; who vouches for a digest vouches for every byte."""
    key = signing_key.create("alice")
    content = signed(small_artifact())
    artifact = Artifact.open(content)
    entry = artifact.sections[section]
    damaged = same_crc(content, entry.offset, entry.length)
    become(tmp_path / "bob", monkeypatch)
    public_keys.add(key)
    assert Artifact.open(damaged).signer == key.text
    for trust in (None, key.text, artifact.digest):
        with pytest.raises(ArtifactError, match=f"the SHA-256 of section '{section}' is wrong"):
            load(damaged, trust=trust)


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


def test_the_code_of_untrusted_artifacts_is_not_even_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = compile_object("define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }")
    content = artifact_bytes(small_manifest(), small_sections(trap))
    become(tmp_path / "bob", monkeypatch)
    machine_key.provide()
    with pytest.raises(TrustError):
        runs(content)
