"""The user's signing key: made and used by hand only, through the package ``cryptography``.

The file ``signing_key`` in the configuration folder, readable by this user alone, holds the public key as others get
it on its first line and the secret seed in hexadecimal digits on the second. So the public key is at hand where the
package is not installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tilewright.errors import TrustError, UsageError
from tilewright.limits import KEY_FILE

from . import ed25519, private_files, public_keys
from .public_keys import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED_DIGITS = 64


def path() -> str | None:
    """Where the key lies; None without a home."""
    return private_files.configured("signing_key")


def public() -> PublicKey | None:
    """The public half; None where this user has made no key.
    Raises TrustError: what lies there is no signing key, or others may use it."""
    lines = _lines()
    return None if lines is None else lines[0]


def own() -> list[PublicKey]:
    """The public half in a list, which is empty without a key; what this user signed, this user trusts."""
    key = public()
    return [] if key is None else [key]


def _lines() -> tuple[PublicKey, bytes] | None:
    place = path()
    content = private_files.read(place, KEY_FILE)
    if content is None:
        return None
    line, _, seed = content.decode(errors="replace").strip().partition("\n")
    try:
        found = bytes.fromhex(seed)
    except ValueError:
        found = b""
    if len(seed) != _SEED_DIGITS or len(found) != _SEED_DIGITS // 2:
        raise TrustError(f"{place} counts for nothing: it holds no signing key")
    return public_keys.parse(line, f"the first line of {place}"), found


def _private_key_class() -> type[Ed25519PrivateKey]:
    try:
        module = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as error:
        raise TrustError(
            f"signing needs the package 'cryptography': {error}",
            hint="Install it with: pip install 'tilewright[sign]'. Verifying signatures does not need it.",
        ) from None
    return module.Ed25519PrivateKey


def create(name: str) -> PublicKey:
    """Make a signing key.
    ``name``: how others will call it, such as ``alice@example``.
    Raises UsageError: there is one, which stays, or the name does not fit on a line; TrustError: it cannot be made or
    kept."""
    place = path()
    if place is None:
        raise TrustError("there is no home folder to keep a key in")
    key = _private_key_class().generate()
    public_key = PublicKey(key.public_key().public_bytes_raw(), public_keys.check_name(name))
    try:
        private_files.write(place, f"{public_key.line}\n{key.private_bytes_raw().hex()}\n".encode(), replace=False)
    except FileExistsError:
        raise UsageError(
            f"there is a signing key at {place}",
            hint="It stays, because what it signed is known by it. Move it away yourself to make another one.",
        ) from None
    except OSError as error:
        raise TrustError(f"cannot write {place}: {error.strerror}") from None
    return public_key


def sign(message: bytes) -> tuple[PublicKey, bytes]:
    """This user's public key, and their signature of a message.
    Raises TrustError: there is no sound signing key, or no package to use it with."""
    lines = _lines()
    if lines is None:
        raise TrustError(f"there is no signing key at {path()}", hint="Make one with: tilewright key create")
    public_key, seed = lines
    signature = _private_key_class().from_private_bytes(seed).sign(message)
    # Also finds a public key that is not that of the seed.
    if not ed25519.verify(public_key.content, message, signature):
        raise TrustError(f"{path()} counts for nothing: its two lines do not belong together")
    return public_key, signature
