"""Which artifacts may bring native code: those that this user made on this machine.

A random key lies in the user's configuration folder, readable by that user alone. Writing an artifact stores a tag, the
HMAC-SHA256 of the artifact's digest under the key; loading one compares. Code of an artifact without a valid tag is
never mapped: its kernels are generated again from the module text that it also holds, which is safe because that text
is parsed, verified and compiled like any model.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_DOMAIN = b"tilewright artifact 1\0"
_KEY_BYTES = 32


def key_path() -> Path | None:
    """Where the key lies: ``$XDG_CONFIG_HOME/tilewright/key`` or ``~/.config/tilewright/key``; None without a home."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(configured):
        return Path(configured, "tilewright", "key")
    home = os.path.expanduser("~")
    return Path(home, ".config", "tilewright", "key") if os.path.isabs(home) else None


def _read_key(path: Path) -> bytes | None:
    """The key, or None when there is none or someone else could have read or placed it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or not private):
            return None
        key = file.read(_KEY_BYTES + 1)
    return key if len(key) == _KEY_BYTES else None


def _create_key(path: Path) -> None:
    """Put a new key in place, complete or not at all; where another process is first, its key stays."""
    temporary = path.with_name(f".key.{os.getpid()}-{os.urandom(4).hex()}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tag(key: bytes, digest: bytes) -> bytes:
    import hmac

    return hmac.digest(key, _DOMAIN + digest, "sha256")


def sign(digest: bytes) -> bytes | None:
    """The tag for an artifact's 32-byte digest under this user's key, which is made on first use.

    None when no key can be kept, for example without a writable home folder; such an artifact is not trusted later.
    """
    path = key_path()
    if path is None:
        return None
    key = _read_key(path)
    if key is None:
        # Another process may have been first; whatever lies there now counts only if it is private.
        with contextlib.suppress(OSError):
            _create_key(path)
        key = _read_key(path)
    return None if key is None else _tag(key, digest)


def objection(digest: bytes, tag: bytes) -> str | None:
    """Why an artifact's native code may not run here; None when its tag proves that this user wrote it here."""
    import hmac

    if not any(tag):
        return "it was written without a tag, where no key could be kept"
    path = key_path()
    key = None if path is None else _read_key(path)
    if key is None:
        return f"this user has no key of their own at {path}"
    return None if hmac.compare_digest(_tag(key, digest), tag) else "it was not made by this user on this machine"
