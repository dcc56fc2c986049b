"""The machine key: a secret of this user on this machine, which marks what this user's Tilewright wrote here.

A random key lies in the user's configuration folder, readable by that user alone; it is made when it is first needed.
Writing an artifact stores its tag, the HMAC-SHA256 of the artifact's digest under the key, and loading one compares.
The kernel cache is protected by the same key.
"""

import contextlib
import os

from tilewright.errors import KeyWarning, TrustError, warn

from . import private_files
from .credentials import NO_TAG, sha256

_KEY_BYTES, _BLOCK_BYTES = 32, 64


def path() -> str | None:
    """Where the key lies; None without a home."""
    return private_files.configured("key")


def read() -> bytes | None:
    """The key; None where none has been made.
    Raises TrustError: what lies there cannot be this user's secret; the message says why."""
    key = private_files.read(path(), _KEY_BYTES)
    if key is not None and len(key) != _KEY_BYTES:
        raise TrustError(f"{path()} counts for nothing: it has {len(key)} bytes instead of {_KEY_BYTES}")
    return key


def provide() -> bytes:
    """The key, made where there is none. What cannot be a key is kept under another name, with a warning.
    Raises TrustError: no key can be kept here."""
    place = path()
    if place is None:
        raise TrustError("there is no home folder to keep a key in")
    with contextlib.suppress(TrustError):
        key = read()
        if key is not None:
            return key
    moved = None
    try:
        with private_files.changing(os.path.dirname(place)):
            try:
                read()
            except TrustError as flaw:
                aside = f"key.unusable-{os.urandom(4).hex()}"
                os.rename(place, os.path.join(os.path.dirname(place), aside))
                moved = f"{flaw.message}; it is now {aside}, and a new key takes its place"
            # Where another process is first, its key stays.
            with contextlib.suppress(FileExistsError):
                private_files.write(place, os.urandom(_KEY_BYTES), replace=False)
            key = read()
    except OSError as error:
        raise TrustError(f"no key can be kept at {place}: {error.strerror}") from None
    finally:
        # Not above: whoever is told may need the key, and would wait for ever.
        if moved is not None:
            warn(moved, KeyWarning)
    if key is None:
        raise TrustError(f"no key stays at {place}")
    return key


def code(key: bytes, purpose: str, content: bytes) -> bytes:
    """The HMAC-SHA256 of `content` under a key; one purpose's codes are worth nothing for another."""
    # As RFC 2104 has it: the module hmac loads all of OpenSSL.
    inner, outer = (bytes(byte ^ pad for byte in key.ljust(_BLOCK_BYTES, b"\0")) for pad in (0x36, 0x5C))
    return sha256(outer + sha256(inner + f"tilewright {purpose}\0".encode() + content))


def equal(code: bytes, other: bytes) -> bool:
    """Whether two codes are equal, in a time that does not tell where they differ."""
    try:
        from _operator import _compare_digest as compare_digest
    except ImportError:
        from hmac import compare_digest
    return compare_digest(code, other)


def tag(digest: bytes) -> bytes:
    """The tag for an artifact's 32-byte digest; `NO_TAG`, with a warning, where no key can be kept."""
    try:
        return code(provide(), "artifact 1", digest)
    except TrustError as error:
        warn(f"{error.message}; so the artifact carries no tag, and its native code counts as foreign", KeyWarning)
        return NO_TAG


def objection(digest: bytes, found: bytes) -> str | None:
    """Why a tag does not prove that this user wrote an artifact on this machine; None when it does."""
    if found == NO_TAG:
        return "it carries no tag of a machine"
    try:
        key = read()
    except TrustError as error:
        return error.message
    if key is None:
        return (
            f"this user has no key of their own at {path()}" if path() else "there is no home folder to keep a key in"
        )
    if equal(code(key, "artifact 1", digest), found):
        return None
    return "it was not made by this user on this machine"
