"""Verification of Ed25519: the vectors of RFC 8032, another implementation, and encodings that must be refused."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tilewright.runtime.trust import ed25519

ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19

# RFC 8032, section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
]


@pytest.mark.parametrize("vector", range(len(VECTORS)))
def test_the_vectors_of_the_rfc(vector: int) -> None:
    key, message, signature = map(bytes.fromhex, VECTORS[vector])
    assert ed25519.verify(key, message, signature)
    assert not ed25519.verify(key, message + b"\0", signature)


def test_what_another_implementation_signs_is_accepted_and_nothing_beside_it(rng: np.random.Generator) -> None:
    for length in range(24):
        private = Ed25519PrivateKey.from_private_bytes(rng.bytes(32))
        key, message = private.public_key().public_bytes_raw(), rng.bytes(length)
        signature = private.sign(message)
        assert ed25519.verify(key, message, signature)
        for _ in range(4):
            bit = int(rng.integers(512))
            damaged = bytearray(signature)
            damaged[bit // 8] ^= 1 << bit % 8
            assert not ed25519.verify(key, message, bytes(damaged))
            damaged = bytearray(key)
            damaged[bit // 16] ^= 1 << bit % 8
            assert not ed25519.verify(bytes(damaged), message, signature)


def test_a_signature_has_one_form() -> None:
    """S and S plus the order of the group mean the same number; only the smaller one is a signature."""
    key, message, signature = map(bytes.fromhex, VECTORS[1])
    s = int.from_bytes(signature[32:], "little")
    for other in (s + ORDER, s + 2 * ORDER, 2**256 - 1):
        assert not ed25519.verify(key, message, signature[:32] + other.to_bytes(32, "little"))
    for length in (0, 32, 63, 65):
        assert not ed25519.verify(key, message, (signature + b"\0")[:length])


# The eight points of small order (y and the bit of x), and second encodings of some of them.
SMALL = [
    1,
    P - 1,
    0,
    2**255,
    0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0xFA03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    0x85FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    1 + 2**255,
    P,
    P + 1,
    P + 2**255,
]


@pytest.mark.parametrize("encoded", SMALL)
def test_keys_of_small_order_are_refused(encoded: int) -> None:
    """For the neutral point as a key, R = B and S = 1 would fit every message."""
    key = encoded.to_bytes(32, "little")
    base = (4 * pow(5, -1, P) % P).to_bytes(32, "little")
    assert not ed25519.is_public_key(key)
    for message in (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
        assert not ed25519.verify(key, message, base + (1).to_bytes(32, "little"))


def test_what_is_no_point_is_refused() -> None:
    for encoded in (2, 7, P + 3, 2**255 - 1, 2**256 - 1):
        assert not ed25519.is_public_key(encoded.to_bytes(32, "little"))
    good = bytes.fromhex(VECTORS[0][0])
    assert ed25519.is_public_key(good)
    assert not ed25519.is_public_key(good[:31])
    assert not ed25519.is_public_key(good + b"\0")
