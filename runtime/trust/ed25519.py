"""Verification of Ed25519 signatures on Python's integers, so that the runtime needs no package for it.

The scheme is that of RFC 8032, section 5.1, and this is its strict reading: every number has one encoding, S is below
the order of the group, and keys of small order, for which one signature fits many messages, are refused. Nothing here
is secret, so nothing needs to take constant time. Signing, which handles a secret, is left to `signing_key`.
"""

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

# A point (x, y) of the curve as (X, Y, Z, T) with x = X/Z, y = Y/Z and xy = T/Z: section 5.1.4.
_Point = tuple[int, int, int, int]

_NEUTRAL: _Point = (0, 1, 1, 0)


def _add(first: _Point, second: _Point) -> _Point:
    x1, y1, z1, t1 = first
    x2, y2, z2, t2 = second
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * _D * t1 * t2 % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    x, y, z, _ = point
    a = x * x % _P
    b = y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decode(encoded: bytes) -> _Point | None:
    """Section 5.1.3: y and the lowest bit of x; None for what encodes no point, or not in the one way it should."""
    number = int.from_bytes(encoded, "little")
    odd, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    # The candidate for the root of u/v; v is never zero.
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P != u:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if v * x * x % _P != u:
            return None
    if odd and not x:
        return None
    if x & 1 != odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _sum_of_multiples(first: int, a: _Point, second: int, b: _Point) -> _Point:
    """``first * a + second * b``, both at once from their highest bits."""
    table = (None, a, b, _add(a, b))
    result = _NEUTRAL
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        result = _double(result)
        term = table[first >> bit & 1 | (second >> bit & 1) << 1]
        if term is not None:
            result = _add(result, term)
    return result


def _key_point(public_key: bytes) -> _Point | None:
    point = _decode(public_key) if len(public_key) == PUBLIC_KEY_BYTES else None
    if point is None:
        return None
    x, _, _, _ = _double(_double(_double(point)))
    # Eight times a point is neutral, with x = 0, exactly if its order divides 8.
    return point if x else None


def is_public_key(public_key: bytes) -> bool:
    """Whether these bytes are a public key that can be relied on."""
    return _key_point(public_key) is not None


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of a public key signed this message."""
    import hashlib

    key = _key_point(public_key)
    if key is None or len(signature) != SIGNATURE_BYTES:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= _ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little") % _ORDER
    x, y, z, t = key
    # R = [S]B - [k]A; comparing encodings also refuses an R that is not encoded in the one way.
    x, y, z, _ = _sum_of_multiples(s, _BASE, k, (-x % _P, y, z, -t % _P))
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little") == r


# The base point has y = 4/5 and an even x.
_BASE = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little")) or _NEUTRAL
