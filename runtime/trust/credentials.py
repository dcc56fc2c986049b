"""What the header of an artifact says about who made it, and the hash by which it says so."""

import sys
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

NO_TAG = bytes(32)
NO_PUBLIC_KEY = bytes(32)
NO_SIGNATURE = bytes(64)


_LITTLE = 1 << 19
"""Bytes that are hashed without OpenSSL in less time than it takes to load that, 3 ms of a fresh process."""


def sha256(data: bytes | bytearray | memoryview) -> bytes:
    """The 32-byte SHA-256 of a buffer."""
    if "_hashlib" not in sys.modules and memoryview(data).nbytes <= _LITTLE:
        # Not every Python has been built with it.
        with suppress(ImportError):
            return import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256(data).digest()
    import hashlib

    return hashlib.sha256(data).digest()


class Credentials(NamedTuple):
    """Claims and the proofs of them, in the order of the header; zeros where it says nothing.

    Attributes:
        digest: SHA-256 that stands for the whole content, 32 bytes.
        tag: code of the digest under the machine key of who wrote it, 32 bytes.
        public_key: that of the signer, 32 bytes.
        signature: Ed25519 signature of `signed_message`, 64 bytes.
    """

    digest: bytes
    tag: bytes = NO_TAG
    public_key: bytes = NO_PUBLIC_KEY
    signature: bytes = NO_SIGNATURE

    @property
    def signed(self) -> bool:
        """Whether there is a signature, right or wrong."""
        return self.signature != NO_SIGNATURE or self.public_key != NO_PUBLIC_KEY

    @property
    def signature_fits(self) -> bool:
        """Whether the owner of the public key signed this digest."""
        from . import ed25519

        return self.signed and ed25519.verify(self.public_key, signed_message(self.digest), self.signature)

    @property
    def signer(self) -> str | None:
        """The public key in text form of who signed it; None without a signature that fits."""
        return self.key_text if self.signature_fits else None

    @property
    def key_text(self) -> str:
        """The public key in text form."""
        return f"ed25519:{self.public_key.hex()}"

    @property
    def digest_text(self) -> str:
        """The digest in text form."""
        return f"sha256:{self.digest.hex()}"


def signed_message(digest: bytes) -> bytes:
    """What a signature of an artifact signs; signatures that the key's owner made elsewhere do not fit it."""
    return b"tilewright artifact signature 1\0" + digest
