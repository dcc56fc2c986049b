"""Whether an artifact may bring native code, from what its header says about who made it.

Native code runs with the rights of the process. It is used from artifacts that this user wrote on this machine, that
are signed by a key which this user trusts, or that the caller vouches for by digest or key. From all others kernels
are generated again from the module text that they also hold, which is safe because that text is parsed, verified and
compiled like any model.
"""

from typing import NamedTuple

from tilewright.errors import TrustError, UsageError

from . import machine_key
from .credentials import Credentials

_REQUIREMENT = r"(sha256|ed25519):[0-9a-f]{64}"


class Verdict(NamedTuple):
    """Whether native code may run, and a clause that says why.
    ``local``: whether it was written here, so that nothing that a stranger could touch lies in between."""

    trusted: bool
    reason: str
    local: bool = False


def judge(credentials: Credentials, trust: str | None, origin: str) -> Verdict:
    """Decide about an artifact.
    ``trust``: what the caller requires: ``sha256:`` and its digest, or ``ed25519:`` and the key that it is signed by.
    ``origin``: how messages call the artifact.
    Raises TrustError: it is not what the caller requires; UsageError: the requirement is of no known form."""
    if trust is not None:
        return _required(credentials, trust, origin)
    objection = machine_key.objection(credentials.digest, credentials.tag)
    if objection is None:
        return Verdict(True, "it was made by this user on this machine", local=True)
    trusted, reason = _signed(credentials)
    return Verdict(trusted, reason if trusted else f"{objection}, and {reason}")


def how_to_trust(credentials: Credentials) -> str:
    """What to type so that the native code of an artifact runs here."""
    if credentials.signer is not None:
        return f"If you trust its signer: tilewright key import {credentials.signer} --name NAME"
    return (
        "Where it was made: `tilewright sign FILE` and `tilewright key export`; here: `tilewright key import KEY`. "
        'Or pass trust="sha256:…" (--trust) with the digest that `tilewright inspect` shows there'
    )


def _required(credentials: Credentials, trust: str, origin: str) -> Verdict:
    # Not above: most callers require nothing, and compiling it takes as long as asking the machine key.
    from re import fullmatch

    if not isinstance(trust, str) or not fullmatch(_REQUIREMENT, trust):
        raise UsageError(
            "trust names neither a digest nor a public key",
            expected="sha256: or ed25519: and 64 hexadecimal digits",
            found=repr(trust)[:100],
        )
    if trust.startswith("sha256:"):
        if credentials.digest_text != trust:
            found = credentials.digest_text
            raise TrustError(f"{origin} is not the artifact that is trusted", expected=trust, found=found)
        return Verdict(True, "it has the digest that is trusted")
    found = credentials.key_text if credentials.signed else "no signature"
    if found == trust and not credentials.signature_fits:
        raise TrustError(f"the signature of {origin} is wrong: it was changed after it was signed", found=trust)
    if found != trust:
        raise TrustError(f"{origin} is not signed by the key that is trusted", expected=trust, found=found)
    return Verdict(True, "it is signed by the key that is trusted")


def _signed(credentials: Credentials) -> tuple[bool, str]:
    """Whether a trusted key signed it, and a clause about its signature."""
    from . import public_keys, signing_key

    if not credentials.signed:
        return False, "it is not signed"
    flaws: list[str] = []
    names: dict[bytes, str] = {}
    for keys in (public_keys.trusted, signing_key.own):
        try:
            names.update({key.content: key.name for key in keys()})
        except TrustError as flaw:
            flaws.append(f" ({flaw})")
    name = names.get(credentials.public_key)
    who = f"{name} ({credentials.key_text})" if name else credentials.key_text
    if not credentials.signature_fits:
        return False, f"its signature by {who} is wrong: it was changed after it was signed"
    if name is None:
        return False, f"it is signed by {who}, which this user does not trust{''.join(flaws)}"
    return True, f"it is signed by {who}, which this user trusts"
