"""Make and exchange the keys that artifacts are signed with.

  show     The own key, the keys that are trusted, and where they lie; the default.
  create   Make a key to sign artifacts with, for `tilewright sign`.
  export   Print the public half of the own key, for others to import.
  import   Trust a key from now on, given as a file or as ed25519:…: native code
           that its owner signed will run here.
  remove   Trust a key no longer, given by its name.

Examples:
  tilewright key create --name alice@example
  tilewright key export -o alice.key
  tilewright key import alice.key
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

from tilewright.errors import InputError, TrustError, UsageError
from tilewright.limits import KEY_FILE

from ..files.input_file import input_file
from .parser import add_output

if TYPE_CHECKING:
    from ..trust.public_keys import PublicKey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", default="show", choices=tuple(_ACTIONS), metavar="ACTION", help=f"{', '.join(_ACTIONS)}."
    )
    parser.add_argument(
        "key", nargs="?", metavar="KEY", help="What to import (a file, or ed25519:…) or to remove (a name)."
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="For create and import: how the key is called. Default: user@host, or as its owner called it.",
    )
    add_output(parser, "FILE", "Export into a file.")


class KeyRecord(TypedDict):
    """A public key, how its owner is called, and what people compare."""

    name: str
    key: str
    fingerprint: str


class KeysRecord(TypedDict):
    """All keys of a user.

    Attributes:
        signing_key: nothing if none was made.
        machine_key: what is with the key that this user's own artifacts are known by.
        paths: where keys lie, by kind; nothing without a home folder.
    """

    signing_key: KeyRecord | None
    trusted_keys: list[KeyRecord]
    machine_key: str
    paths: dict[str, str | None]


def run(arguments: argparse.Namespace) -> str | KeyRecord | KeysRecord:
    action: str = arguments.action
    if (arguments.key is None) == (action in ("import", "remove")):
        wanted = "a key" if arguments.key is None else "no further argument"
        found = arguments.key and repr(arguments.key)
        raise UsageError(f"key {action} takes {wanted}", found=found, hint="See `tilewright key --help`.")
    if arguments.name is not None and action not in ("create", "import"):
        raise UsageError("--name is for key create and key import", hint="Leave it out.")
    if arguments.output is not None and action != "export":
        raise UsageError("--output is for key export", hint="Leave it out.")
    record, text = _ACTIONS[action](arguments)
    return record if arguments.json else text


def _record(key: PublicKey) -> KeyRecord:
    return {"name": key.name, "key": key.text, "fingerprint": key.fingerprint}


def _describe(key: PublicKey) -> str:
    return f"{key.name}\n  {key.text}\n  fingerprint {key.fingerprint}\n"


def _show(_: argparse.Namespace) -> tuple[KeysRecord, str]:
    from ..trust import machine_key, public_keys, signing_key

    own = signing_key.public()
    trusted = public_keys.trusted()
    try:
        machine = "sound" if machine_key.read() is not None else "made when the first artifact is written"
    except TrustError as flaw:
        machine = f"{flaw.message}; writing an artifact sets it aside and makes a new one"
    places = {"machine": machine_key.path(), "signing": signing_key.path(), "trusted": public_keys.trusted_path()}
    lies = {name: place or "nowhere, without a home folder" for name, place in places.items()}
    record: KeysRecord = {
        "signing_key": None if own is None else _record(own),
        "trusted_keys": [_record(key) for key in trusted],
        "machine_key": machine,
        "paths": {name: path and str(path) for name, path in places.items()},
    }
    owned = _describe(own) if own is not None else "none; make one with: tilewright key create\n"
    others = "".join(map(_describe, trusted)) or "none\n"
    return record, (
        f"own key ({lies['signing']})\n{owned}\n"
        f"trusted keys ({lies['trusted']})\n{others}\n"
        f"machine key ({lies['machine']})\n{machine}\n"
    )


def _default_name() -> str:
    import getpass
    import socket

    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    # Without an account it is a KeyError or an OSError, depending on the version of Python.
    except (KeyError, OSError):
        return socket.gethostname()


def _create(arguments: argparse.Namespace) -> tuple[KeyRecord, str]:
    from ..trust import signing_key

    key = signing_key.create(arguments.name if arguments.name is not None else _default_name())
    return _record(key), (
        f"{_describe(key)}Sign with: tilewright sign FILE.twa\n"
        f"Others trust it after: tilewright key import '{key.line}'\n"
    )


def _export(arguments: argparse.Namespace) -> tuple[KeyRecord, str]:
    from ..files.output_file import write_file
    from ..trust import signing_key

    key = signing_key.public()
    if key is None:
        raise TrustError(
            f"there is no signing key at {signing_key.path()}", hint="Make one with: tilewright key create"
        )
    if arguments.output is None:
        return _record(key), f"{key.line}\n"
    write_file(arguments.output, f"{key.line}\n".encode())
    return _record(key), ""


def _import(arguments: argparse.Namespace) -> tuple[KeyRecord, str]:
    from ..trust import public_keys

    given: str = arguments.key
    is_text = given.startswith("ed25519:")
    key = public_keys.parse(given if is_text else _read(given), "the argument" if is_text else repr(given))
    if arguments.name is not None:
        key = key._replace(name=public_keys.check_name(arguments.name))
    if not key.name:
        raise UsageError("the key has no name", hint="Give it one with --name.")
    public_keys.add(key)
    return _record(key), (
        f"{_describe(key)}Native code that its owner signs will run here. "
        "Compare the fingerprint with the owner's, who sees it with: tilewright key show\n"
    )


def _read(path: str) -> str:
    try:
        with input_file(path) as file:
            return file.read(KEY_FILE).decode(errors="replace")
    except InputError as error:
        error.hint = "Give a file or a key: ed25519:…"
        raise


def _remove(arguments: argparse.Namespace) -> tuple[KeyRecord, str]:
    from ..trust import public_keys

    key = public_keys.remove(arguments.key)
    return _record(key), f"{_describe(key)}It is trusted no longer.\n"


_ACTIONS: dict[str, Callable[[argparse.Namespace], tuple[KeyRecord | KeysRecord, str]]]
_ACTIONS = {"show": _show, "create": _create, "export": _export, "import": _import, "remove": _remove}
