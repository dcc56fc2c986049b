"""`tilewright key`, `sign` and `verify`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import small_artifact, small_manifest, small_sections, with_compiler
from json_results import result_of

from tilewright.__main__ import main
from tilewright.errors import ArtifactError
from tilewright.runtime import load
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.trust import signing_key

Users = Callable[[str], None]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Users:
    """``user(name)`` goes on as another user, whose files are in ``home/name``."""
    monkeypatch.chdir(tmp_path)

    def become(name: str) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / name))

    become("alice")
    return become


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``shown(words…)`` is what a command prints that succeeds and warns of nothing."""

    def run(*words: str) -> str:
        code = main([*words])
        found = capsys.readouterr()
        assert (code, found.err) == (0, "")
        return found.out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """``refused(words…, code=1)`` is the message of a command that fails."""

    def run(*words: str, code: int = 1) -> str:
        assert main([*words]) == code
        found = capsys.readouterr()
        assert found.out == ""
        assert found.err.startswith("error: ")
        return found.err.removeprefix("error: ").rstrip("\n")

    return run


def test_keys_are_made_shown_exchanged_and_removed(
    user: Users, shown: Callable[..., str], refused: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "alice" / "tilewright"
    assert (
        shown("key")
        == shown("key", "show")
        == (
            f"own key ({folder}/signing_key)\nnone; make one with: tilewright key create\n\n"
            f"trusted keys ({folder}/trusted_keys)\nnone\n\n"
            f"machine key ({folder}/key)\nmade when the first artifact is written\n"
        )
    )
    assert "Make one with: tilewright key create" in refused("key", "export")
    made = result_of(shown("key", "create", "--name", "alice@there", "--json"))
    assert made["name"] == "alice@there"
    assert len(made["fingerprint"]) == 39
    assert "there is a signing key at" in refused("key", "create", code=2)
    assert shown("key", "export") == f"{made['key']} alice@there\n"
    assert shown("key", "export", "-o", "alice.key") == ""
    assert Path("alice.key").read_text() == f"{made['key']} alice@there\n"
    user("bob")
    described = f"alice@there\n  {made['key']}\n  fingerprint {made['fingerprint']}\n"
    assert shown("key", "import", "alice.key").startswith(
        f"{described}Native code that its owner signs will run here. "
    )
    found = result_of(shown("key", "show", "--json"))
    assert found["trusted_keys"] == [made]
    assert found["signing_key"] is None
    assert described in shown("key")
    assert (
        refused("key", "remove", "carol", code=2)
        == "no such key is trusted; expected one of 'alice@there', found 'carol'"
    )
    assert shown("key", "remove", "alice@there").endswith("It is trusted no longer.\n")
    assert refused("key", "import", made["key"], code=2) == "the key has no name. Give it one with --name."
    assert result_of(shown("key", "import", made["key"], "--name", "al", "--json"))["name"] == "al"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import"], "key import takes a key. See `tilewright key --help`."),
        (["remove"], "key remove takes a key. See `tilewright key --help`."),
        (["remove", "x"], "no such key is trusted; found 'x'"),
        (["show", "x"], "key show takes no further argument; found 'x'. See `tilewright key --help`."),
        (["create", "x"], "key create takes no further argument; found 'x'. See `tilewright key --help`."),
        (["export", "--name", "x"], "--name is for key create and key import. Leave it out."),
        (["show", "-o", "x"], "--output is for key export. Leave it out."),
        (
            ["create", "--name", "a\nb"],
            "this cannot be the name of a key; expected 1 to 100 printable characters, found",
        ),
    ],
)
def test_wrong_usage_of_key(words: list[str], message: str, user: Users, refused: Callable[..., str]) -> None:
    assert refused("key", *words, code=2).startswith(message)


def test_files_that_hold_no_key(user: Users, refused: Callable[..., str], tmp_path: Path) -> None:
    assert refused("key", "import", "absent") == (
        "cannot read 'absent': No such file or directory. Give a file or a key: ed25519:…"
    )
    assert "cannot read '.'" in refused("key", "import", ".")
    Path("wrong").write_bytes(b"\xff" * 10000)
    assert refused("key", "import", "wrong").startswith("'wrong' is no public key; expected ed25519: and 64 ")
    assert refused("key", "import", "ed25519:00").startswith("the argument is no public key")
    assert not (tmp_path / "home").exists()


def test_a_bad_key_is_told_by_name(user: Users, shown: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "home" / "alice" / "tilewright"
    folder.mkdir(0o700, parents=True)
    (folder / "key").mkdir()
    assert f"{folder}/key counts for nothing: it is a folder; writing an artifact sets it aside" in shown("key")


def test_without_a_home_there_are_no_keys(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[..., str], refused: Callable[..., str]
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert shown("key").startswith("own key (nowhere, without a home folder)\nnone")
    assert result_of(shown("key", "--json"))["paths"] == {"machine": None, "signing": None, "trusted": None}
    assert refused("key", "create") == "there is no home folder to keep a key in"
    key = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a x"
    assert refused("key", "import", key) == "there is no home folder to keep keys in"


def test_signing_and_verifying(
    user: Users, shown: Callable[..., str], refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "small.twa"
    path.write_bytes(small_artifact())
    path.chmod(0o640)
    digest = Artifact.open(path).digest
    assert "its native code is trusted: it was made by this user on this machine" in shown("verify", "small.twa")
    assert "there is no signing key at" in refused("sign", "small.twa")
    key = signing_key.create("alice")
    assert shown("sign", "small.twa") == f"small.twa is signed by alice\n  {key.text}\n  {digest}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir()) == ["home", "small.twa"]
    assert Artifact.open(path).digest == digest
    assert Artifact.open(path).judge().local
    found = result_of(shown("inspect", "small.twa", "--json"))
    assert (found["digest"], found["signer"], found["trusted"]) == (digest, key.text, True)
    assert f"  {digest}, signed by {key.text}\n" in shown("inspect", "small.twa")
    user("bob")
    assert refused("verify", "small.twa") == (
        f"small.twa is intact, but its native code is not trusted: this user has no key of their own at "
        f"{tmp_path}/home/bob/tilewright/key, and it is signed by {key.text}, which this user does not trust. "
        f"If you trust its signer: tilewright key import {key.text} --name NAME"
    )
    found = result_of(shown("verify", "small.twa", "--trust", key.text, "--json"))
    assert found == {
        "artifact": "small.twa",
        "digest": digest,
        "signer": key.text,
        "reason": "it is signed by the key that is trusted",
        "native_code_runs_here": True,
        "unfit": {"main": None},
    }
    assert shown("verify", "small.twa", "--trust", digest).endswith("  its native code runs here\n")
    assert "is not the artifact that is trusted" in refused("verify", "small.twa", "--trust", "sha256:" + "0" * 64)
    assert "trust names neither a digest" in refused("verify", "small.twa", "--trust", "0", code=2)
    mine = signing_key.create("bob")
    message = refused("sign", "small.twa", "-o", "mine.twa")
    assert message.startswith("nothing says that the native code of small.twa may be vouched for: ")
    assert message.endswith(f"If you know it to be what you want to sign, add: --trust {digest}")
    assert not Path("mine.twa").exists()
    found = result_of(shown("sign", "small.twa", "-o", "mine.twa", "--trust", digest, "--json"))
    assert found == {"output": "mine.twa", "digest": digest, "signer": mine.text}
    assert Artifact.open("mine.twa").signer == mine.text
    assert Artifact.open("small.twa").signer == key.text


def test_a_wrong_signature_is_told_of_own_artifacts_too(user: Users, refused: Callable[..., str]) -> None:
    own = Artifact.open(small_artifact())
    Path("a.twa").write_bytes(b"".join(own.signed(bytes(32), bytes(range(64)))))
    assert Artifact.open("a.twa").trusted, "its tag is right"
    assert refused("verify", "a.twa") == "the signature of a.twa is wrong: it was changed after it was signed"


def test_trusted_code_for_another_processor_is_told_apart(user: Users, shown: Callable[..., str]) -> None:
    program = small_manifest().cpu_programs["main"]
    program = replace(program, target=replace(program.target, features=("abacus",)))
    content = small_artifact(cpu_programs={"main": program})
    Path("a.twa").write_bytes(content)
    lacking = "this processor lacks abacus"
    assert shown("verify", "a.twa").endswith(f"  its native code does not fit this machine: {lacking}\n")
    found = result_of(shown("verify", "a.twa", "--json"))
    assert (found["native_code_runs_here"], found["unfit"]) == (False, {"main": lacking})
    assert f"; its native code is not used: {lacking}\n" in shown("inspect", "a.twa")
    inspected = result_of(shown("inspect", "a.twa", "--json"))["cpu_programs"]["main"]
    assert (inspected["target"]["features"], inspected["unfit"]) == (["abacus"], lacking)
    with pytest.raises(ArtifactError) as caught:
        load(content, trust=found["digest"], regenerate=False)
    assert str(caught.value) == (
        f"load native code: the native code of artifact in memory does not run here: {lacking}; and regenerate=False "
        "refuses to generate it again. Compile it with --target portable or for this processor."
    )


def test_verify_looks_into_programs(user: Users, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.twa").write_bytes(artifact_bytes(small_manifest(), small_sections(b"no ELF object")))
    assert refused("verify", "a.twa").startswith("load native code: the object code ")
    sections = [*small_sections(), Section("extra", SectionKind.MODULE, b"text" * 8)]
    content = bytearray(artifact_bytes(small_manifest(), sections))
    (tmp_path / "b.twa").write_bytes(content[:-1])
    assert "b.twa is damaged: its length is not the one in its header" in refused("verify", "b.twa")
    assert "cannot read 'absent.twa'" in refused("verify", "absent.twa")


@pytest.mark.filterwarnings("default::tilewright.errors.RegenerationWarning")
def test_regeneration_is_one_line_on_stderr(
    user: Users, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "small.twa").write_bytes(small_artifact())
    user("bob")
    with_compiler(monkeypatch)
    np.save("x.npy", np.ones((2, 8), np.float32))
    assert main(["run", "small.twa", "x.npy"]) == 0
    shown = capsys.readouterr().err
    assert shown.startswith(
        "warning: the native code of small.twa does not run here: this user has no key of their own"
    )
    assert shown.count("\n") == 1
    assert main(["run", "small.twa", "x.npy", "--no-regenerate"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: load native code: the native code of small.twa does not run here: ")
    assert shown.count("\n") == 1
