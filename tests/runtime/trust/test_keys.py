"""Files of keys: made once, private, and harmless whatever lies in their place."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from artifact_samples import small_artifact
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tilewright.errors import KeyWarning, TrustError, UsageError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.trust import machine_key, public_keys, signing_key
from tilewright.runtime.trust.credentials import sha256
from tilewright.runtime.trust.public_keys import PublicKey

ALICE = PublicKey(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), "alice")
BOB = PublicKey(bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"), "bob@there")


def in_process(program: str, *words: str) -> subprocess.Popen[str]:
    """Run a program that finds Tilewright where this process has it; pipes lead to its stdin and stdout."""
    start = f"import sys; sys.path.insert(0, sys.argv[1])\n{program}"
    command = [sys.executable, "-c", start, str(Path(machine_key.__file__).parents[3]), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_machine_key_is_made_when_an_artifact_is_written(configuration: Path) -> None:
    small_artifact()
    key = configuration / "tilewright" / "key"
    assert machine_key.path() == str(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert len(key.read_bytes()) == 32
    assert os.listdir(key.parent) == ["key"]
    assert machine_key.tag(b"digest") == machine_key.tag(b"digest") != machine_key.tag(b"other")


def test_codes_for_one_purpose_are_worth_nothing_for_another() -> None:
    assert machine_key.code(bytes(32), "a", b"b") != machine_key.code(bytes(32), "ab", b"")


@pytest.mark.parametrize("size", [0, 55, 64, 1000])
def test_codes_and_hashes_without_openssl_are_those_with_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    key, content = os.urandom(32), os.urandom(size)
    expected = hmac.digest(key, b"tilewright a\0" + content, "sha256"), hashlib.sha256(content).digest()
    assert (machine_key.code(key, "a", content), sha256(content)) == expected
    monkeypatch.delitem(sys.modules, "_hashlib", raising=False)
    monkeypatch.setitem(sys.modules, "hashlib", None)
    assert (machine_key.code(key, "a", content), sha256(content)) == expected
    assert machine_key.equal(key, bytes(bytearray(key)))
    assert not machine_key.equal(*expected)


def test_threads_that_need_a_key_at_once_get_the_same(configuration: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(machine_key.provide())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {(configuration / "tilewright" / "key").read_bytes()}


RACE = """
import sys, warnings
warnings.simplefilter("ignore")
from tilewright.runtime.trust import machine_key, public_keys
key = public_keys.parse(sys.argv[2], "the argument")
print("ready", flush=True)
sys.stdin.readline()
public_keys.add(key)
print(machine_key.provide().hex())
"""


def test_processes_that_change_keys_at_once_lose_none(configuration: Path) -> None:
    """Each trusts another key, and finds a machine key to be replaced."""
    folder = configuration / "tilewright"
    folder.mkdir(0o700)
    short(folder / "key")
    keys = [
        PublicKey(Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key().public_bytes_raw(), f"user{i}")
        for i in range(6)
    ]
    processes = [in_process(RACE, key.line) for key in keys]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = {process.communicate(timeout=120)[0] for process in processes}
    assert found == {f"{(folder / 'key').read_bytes().hex()}\n"}
    assert set(public_keys.trusted()) == {*keys}
    assert len(list(folder.glob("key.unusable-*"))) == 1


def test_a_key_is_durable_before_it_has_its_name(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = configuration / "tilewright" / "key"
    seen: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), key.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    machine_key.provide()
    assert seen == [(False, False), (True, True)], "first its content, then the folder that names it"


def test_a_failure_leaves_no_key_and_no_other_file(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.warns(
        KeyWarning, match=r"no key can be kept at .*: No space left on device; so the artifact carries no"
    ):
        assert machine_key.tag(bytes(32)) == bytes(32)
    assert os.listdir(configuration / "tilewright") == []


def short(key: Path) -> None:
    key.write_bytes(b"short")
    key.chmod(0o600)


def long(key: Path) -> None:
    key.write_bytes(bytes(10**6))
    key.chmod(0o600)


def empty(key: Path) -> None:
    key.touch(0o600)


def folder(key: Path) -> None:
    key.mkdir()
    (key / "something").touch()


def listener(key: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        previous = os.getcwd()
        os.chdir(key.parent)  # A socket's path may have 107 bytes.
        server.bind("key")
        os.chdir(previous)


def link(key: Path) -> None:
    sound = key.with_name("elsewhere")
    sound.write_bytes(bytes(32))
    sound.chmod(0o600)
    key.symlink_to(sound)


def dangling(key: Path) -> None:
    key.symlink_to(key.with_name("nowhere"))


def readable(key: Path) -> None:
    key.write_bytes(bytes(32))
    key.chmod(0o640)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (short, "it has 5 bytes instead of 32"),
    (long, "it has 1000000 bytes, more than 32"),
    (empty, "it has 0 bytes instead of 32"),
    (folder, "it is a folder"),
    (listener, "No such device or address"),
    (link, "it is a symbolic link"),
    (dangling, "it is a symbolic link"),
    (readable, "others may use it (mode 640)"),
]


@pytest.mark.parametrize(("make", "flaw"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_what_cannot_be_a_key_is_kept_aside_and_a_new_one_made(
    make: Callable[[Path], None], flaw: str, configuration: Path
) -> None:
    content = small_artifact()
    key = configuration / "tilewright" / "key"
    key.unlink()
    make(key)
    before = key.lstat()
    objection = Artifact.open(content).judge().reason
    assert objection == f"{key} counts for nothing: {flaw}, and it is not signed"
    assert os.path.samestat(key.lstat(), before), "loading leaves it alone"
    with pytest.warns(KeyWarning) as warned:
        written = small_artifact()
    (aside,) = key.parent.glob("key.unusable-*")
    assert os.path.samestat(aside.lstat(), before), "it is there under another name"
    assert [str(each.message) for each in warned] == [
        f"{key} counts for nothing: {flaw}; it is now {aside.name}, and a new key takes its place"
    ]
    assert Artifact.open(written).trusted
    assert not Artifact.open(content).trusted


def test_who_hears_of_a_bad_key_may_use_the_new_one(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (configuration / "tilewright").mkdir(0o700)
    short(configuration / "tilewright" / "key")
    heard: list[bytes] = []
    monkeypatch.setattr(machine_key, "warn", lambda *_: heard.append(machine_key.provide()))
    thread = threading.Thread(target=machine_key.provide, daemon=True)
    thread.start()
    thread.join(60)
    assert heard == [machine_key.read()]


def test_a_key_of_another_user_counts_for_nothing(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = small_artifact()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "it belongs to another user" in Artifact.open(content).judge().reason


def test_in_a_folder_of_another_user_nothing_is_read_or_moved(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as after ``sudo`` that keeps HOME: the key is sound, for the user whose folder it is."""
    content = small_artifact()
    public_keys.add(ALICE)
    folder = configuration / "tilewright"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    flaw = f"the folder {folder} counts for nothing: it belongs to another user"
    assert Artifact.open(content).judge().reason == f"{flaw}, and it is not signed"
    with pytest.warns(KeyWarning) as warned:
        small_artifact()
    assert [str(each.message) for each in warned] == [
        f"{flaw}; so the artifact carries no tag, and its native code counts as foreign"
    ]
    for change in (public_keys.trusted, lambda: public_keys.add(BOB), lambda: signing_key.create("alice")):
        with pytest.raises(TrustError) as caught:
            change()
        assert str(caught.value) == flaw
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_others_may_write_holds_no_keys(configuration: Path) -> None:
    content = small_artifact()
    folder = configuration / "tilewright"
    folder.chmod(0o770)
    with pytest.raises(TrustError) as caught:
        machine_key.provide()
    assert str(caught.value) == (
        f"the folder {folder} counts for nothing: others may use it (mode 770). "
        f"Nobody else may write there: chmod go-w {folder}"
    )
    assert not Artifact.open(content).trusted
    folder.chmod(0o755)
    assert Artifact.open(content).trusted


def test_where_no_key_can_be_kept_artifacts_carry_no_tag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(file))
    with pytest.warns(KeyWarning) as warned:
        content = small_artifact()
    key = file / "tilewright" / "key"
    assert [str(each.message) for each in warned] == [
        f"no key can be kept at {key}: Not a directory; so the artifact carries no tag, and its native code counts as "
        "foreign"
    ]
    assert Artifact.open(content).judge().reason == "it carries no tag of a machine, and it is not signed"
    # A folder that cannot even be looked into, such as that of another user.
    monkeypatch.setenv("XDG_CONFIG_HOME", f"/{'x' * 5000}")
    with pytest.warns(KeyWarning, match="File name too long; so the artifact carries no tag"):
        small_artifact()
    with pytest.raises(TrustError, match="key counts for nothing: File name too long"):
        machine_key.read()
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.warns(KeyWarning, match="there is no home folder to keep a key in; so the artifact carries no tag"):
        small_artifact()


def test_a_signing_key_is_made_by_hand_and_stays(configuration: Path) -> None:
    small_artifact()
    assert signing_key.public() is None
    assert not (configuration / "tilewright" / "signing_key").exists()
    with pytest.raises(
        TrustError, match=r"there is no signing key at .*signing_key\. Make one with: tilewright key cre"
    ):
        signing_key.sign(b"message")
    made = signing_key.create("alice@there")
    assert signing_key.public() == made
    assert stat.S_IMODE((configuration / "tilewright" / "signing_key").stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="there is a signing key at"):
        signing_key.create("alice@there")
    assert signing_key.public() == made


def test_a_signing_key_whose_halves_differ_signs_nothing(configuration: Path) -> None:
    signing_key.create("alice")
    path = configuration / "tilewright" / "signing_key"
    path.write_text(f"{BOB.line}\n{path.read_text().splitlines()[1]}\n")
    with pytest.raises(TrustError, match="its two lines do not belong together"):
        signing_key.sign(b"message")
    for damaged in (
        "",
        BOB.line,
        f"{BOB.line}\n{'0' * 63}\n",
        f"{BOB.line}\n{'x' * 64}\n",
        f"{BOB.line}\n{' ' * 64}\n",
    ):
        path.write_text(damaged)
        with pytest.raises(TrustError, match="counts for nothing: it holds no signing key"):
            signing_key.public()


def test_without_the_package_signing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    with pytest.raises(TrustError) as caught:
        signing_key.create("alice")
    assert "Install it with: pip install 'tilewright[sign]'" in str(caught.value)


def test_trusted_keys_come_and_go(configuration: Path) -> None:
    assert public_keys.trusted() == []
    public_keys.add(ALICE)
    public_keys.add(BOB)
    public_keys.add(ALICE)
    assert public_keys.trusted() == [ALICE, BOB]
    assert (configuration / "tilewright" / "trusted_keys").read_text() == f"{ALICE.line}\n{BOB.line}\n"
    with pytest.raises(UsageError, match="this key is trusted already, as 'alice'"):
        public_keys.add(ALICE._replace(name="carol"))
    with pytest.raises(UsageError, match="'bob@there' is the name of another key"):
        public_keys.add(
            PublicKey(bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"), "bob@there")
        )
    assert public_keys.remove("alice") == ALICE
    assert public_keys.remove(BOB.text) == BOB
    with pytest.raises(UsageError, match="no such key is trusted"):
        public_keys.remove("alice")


def test_a_list_of_keys_does_not_outgrow_what_is_read_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    public_keys.add(ALICE)
    monkeypatch.setattr(public_keys, "KEY_FILE", len(ALICE.line) + 1)
    with pytest.raises(
        TrustError, match=r"no more keys fit in .*trusted_keys; expected at most 79 bytes\. Remove some"
    ):
        public_keys.add(BOB)
    assert public_keys.trusted() == [ALICE]


def test_a_list_that_others_may_write_or_that_is_damaged_trusts_nobody(configuration: Path) -> None:
    public_keys.add(ALICE)
    path = configuration / "tilewright" / "trusted_keys"
    path.chmod(0o644)
    assert public_keys.trusted() == [ALICE], "others may read it"
    path.chmod(0o664)
    with pytest.raises(TrustError, match=r"trusted_keys counts for nothing: others may use it \(mode 664\)"):
        public_keys.trusted()
    path.chmod(0o600)
    path.write_text(f"{ALICE.line}\n\nsomething else\n")
    with pytest.raises(TrustError, match=r"line 3 of .*trusted_keys is no public key"):
        public_keys.trusted()
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(TrustError, match="line 1 of"):
        public_keys.trusted()
    path.write_bytes(b"\n" * 10**6)
    with pytest.raises(TrustError, match="it has 1000000 bytes"):
        public_keys.trusted()


@pytest.mark.parametrize(
    "text",
    ["", "ed25519:", "ed25519:" + "0" * 63, "rsa:" + "0" * 64, ALICE.text + "0", ALICE.text.upper(), "x" * 10**5],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="the text is no public key"):
        public_keys.parse(text, "the text")


def test_keys_that_any_signature_fits_are_refused() -> None:
    with pytest.raises(TrustError, match="any signature could be made to fit it"):
        public_keys.parse("ed25519:01" + "0" * 62, "the text")


@pytest.mark.parametrize("name", ["", " a", "a\tb", "a\nb", "\x1b[2J", "x" * 101, ALICE.text])
def test_names_fit_on_a_line_and_write_nothing_else(name: str) -> None:
    with pytest.raises(UsageError, match="this cannot be the name of a key"):
        public_keys.check_name(name)


PROGRAM = """
import warnings
warnings.simplefilter("ignore")
from tilewright.runtime.trust import machine_key, public_keys, signing_key
from tilewright.runtime.trust.kernel_cache import Entry
entry = Entry(bytes(32), "main", "1", "")
for look in (machine_key.read, public_keys.trusted, signing_key.public, machine_key.provide, entry.load):
    try:
        print(look.__name__, type(look()).__name__)
    except Exception as error:
        print(look.__name__, error)
entry.store(b"", 0, b"")
"""


def test_fifos_hold_nobody_up(configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = configuration / "tilewright"
    folder.mkdir(0o700)
    for name in ("key", "trusted_keys", "signing_key"):
        os.mkfifo(folder / name, 0o600)
    for key in (f"read {folder}/key counts for nothing: it is no regular file", "read bytes"):
        assert in_process(PROGRAM).communicate(timeout=120)[0].splitlines() == [
            key,
            f"trusted {folder}/trusted_keys counts for nothing: it is no regular file",
            f"public {folder}/signing_key counts for nothing: it is no regular file",
            "provide bytes",
            "load NoneType",
        ]
        (kept,) = (tmp_path / "tilewright" / "kernels").iterdir()
        kept.unlink()
        os.mkfifo(kept, 0o600)
    assert stat.S_ISFIFO(next(folder.glob("key.unusable-*")).lstat().st_mode)
