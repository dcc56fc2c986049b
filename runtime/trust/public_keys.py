"""Public keys, and which of them this user trusts to bring native code.

A key is written as ``ed25519:`` and 64 hexadecimal digits; where it is kept or handed on, a name follows on the same
line. Trusted keys are such lines in ``trusted_keys`` in the configuration folder.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tilewright.errors import TrustError, UsageError
from tilewright.limits import KEY_FILE

from . import ed25519, private_files
from .credentials import sha256

_LINE = re.compile(r"ed25519:([0-9a-f]{64})(?:[ \t]+(\S(?:.*\S)?))?")
_LONGEST_NAME = 100


class PublicKey(NamedTuple):
    """A public key: its 32 bytes, and how its owner is called."""

    content: bytes
    name: str

    @property
    def text(self) -> str:
        """``ed25519:`` and 64 hexadecimal digits."""
        return f"ed25519:{self.content.hex()}"

    @property
    def line(self) -> str:
        """Text and name, the form in which keys are kept and handed on."""
        return f"{self.text} {self.name}"

    @property
    def fingerprint(self) -> str:
        """Half of its SHA-256 in groups of four digits, for people who compare keys by voice."""
        digits = sha256(self.content).hex()[:32]
        return " ".join(digits[start : start + 4] for start in range(0, 32, 4))


def check_name(name: str) -> str:
    """The name, if it fits on a line. Raises UsageError: it does not."""
    if (
        not name.isprintable()
        or name != name.strip()
        or not 0 < len(name) <= _LONGEST_NAME
        or name.startswith("ed25519:")
    ):
        raise UsageError(
            "this cannot be the name of a key",
            expected=f"1 to {_LONGEST_NAME} printable characters",
            found=repr(name[: _LONGEST_NAME + 1]),
        )
    return name


def parse(text: str, where: str) -> PublicKey:
    """Read a key in text form, with or without a name.
    ``where``: what the text is, for messages.
    Raises TrustError: it is no key, or one that cannot be relied on."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        raise TrustError(
            f"{where} is no public key", expected="ed25519: and 64 hexadecimal digits", found=repr(text[:80])
        )
    key = PublicKey(bytes.fromhex(found[1]), found[2] or "")
    if not ed25519.is_public_key(key.content):
        raise TrustError(f"{where} is no public key of Ed25519: any signature could be made to fit it", found=key.text)
    if key.name:
        check_name(key.name)
    return key


def trusted_path() -> str | None:
    """Where the trusted keys are listed; None without a home."""
    return private_files.configured("trusted_keys")


def trusted() -> list[PublicKey]:
    """The keys that this user has imported.
    Raises TrustError: someone else may write the list, or a line of it is wrong."""
    place = trusted_path()
    content = private_files.read(place, KEY_FILE, secret=False)
    if content is None:
        return []
    lines = content.decode(errors="replace").splitlines()
    return [parse(line, f"line {number} of {place}") for number, line in enumerate(lines, 1) if line.strip()]


def add(key: PublicKey) -> None:
    """Trust a key from now on.
    Raises UsageError: its name means another key, or it is trusted under another name; TrustError: the list cannot be
    read or written."""
    with _changed() as keys:
        if key in keys:
            return
        for other in keys:
            if other.content == key.content:
                raise UsageError(
                    f"this key is trusted already, as {other.name!r}", hint="Remove it to give it another name."
                )
            if other.name == key.name:
                raise UsageError(
                    f"{key.name!r} is the name of another key that you trust", hint="Give --name, or remove the other."
                )
        keys.append(key)


def remove(name: str) -> PublicKey:
    """Trust a key no longer, given by its name or text.
    Raises UsageError: there is no such key; TrustError: the list cannot be read or written."""
    with _changed() as keys:
        for key in keys:
            if name in (key.name, key.text):
                keys.remove(key)
                return key
        names = ", ".join(repr(key.name) for key in keys)
        raise UsageError("no such key is trusted", expected=f"one of {names}" if names else None, found=repr(name))


@contextmanager
def _changed() -> Iterator[list[PublicKey]]:
    """The trusted keys, to be changed in place: the list is kept at the end of the block, not after an exception."""
    place = trusted_path()
    if place is None:
        raise TrustError("there is no home folder to keep keys in")
    try:
        with private_files.changing(os.path.dirname(place)):
            keys = trusted()
            yield keys
            content = "".join(f"{key.line}\n" for key in keys).encode()
            if len(content) > KEY_FILE:
                raise TrustError(
                    f"no more keys fit in {place}", expected=f"at most {KEY_FILE} bytes", hint="Remove some."
                )
            private_files.write(place, content, replace=True)
    except OSError as error:
        raise TrustError(f"cannot write {place}: {error.strerror}") from None
