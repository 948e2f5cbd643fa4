"""Events as receivers take them: who they are about, what happened, and our signature.

Sources: RFC 8417 (security event tokens), OpenID Shared Signals Framework 1.0, OpenID CAEP 1.0, RFC 7638 (a key's id).
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from integrations.system import written
from integrations.systems.ssf import Receiver
from playbooks.errors import Misconfigured
from playbooks.strict import canonical
from playbooks.text.sentences import say

TYPE: Final = "secevent+jwt"
"""What an event says that it is, so that nobody takes it for a token that lets somebody in."""

REVOKED: Final = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
VERIFIES: Final = "https://schemas.openid.net/secevent/ssf/event-type/verification"

REASON: Final = say("contained by incident response")
"""Why, for the log of whoever is told. What the incident is, is not theirs to know."""


@cache
def _reasons() -> Mapping[str, str]:
    words = {language.value: dict(pairs)[REASON] for language, pairs in written("integrations.systems.ssf")().items()}
    return {"en": REASON, **words}


class Signer(NamedTuple):
    """Our key.

    Args:
        key: it itself.
        algorithm: by which it signs.
        public: its public half, as receivers have it (JWK).
    """

    key: EllipticCurvePrivateKey | Ed25519PrivateKey
    algorithm: str
    public: Mapping[str, str]

    def signed(self, claims: Mapping[str, Any]) -> str:
        """Return an event in compact form."""
        headers = {"typ": TYPE, "kid": self.public["kid"]}
        return jwt.encode(dict(claims), self.key, algorithm=self.algorithm, headers=headers)


def signer(pem: str, *, field: str | None = None) -> Signer:
    """Return what signs.

    Args:
        pem: the private key.
        field: of inventory.yaml that says where it is.

    Raises:
        Misconfigured: it is none that receivers take.
    """
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError as exc:
        raise Misconfigured("this key has a passphrase, and nobody is there to type it", field=field) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Misconfigured(f"this is no private key in PEM; {_MAKE}", field=field) from exc
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return Signer(key, "ES256", _known(ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "ES256"))
    if isinstance(key, Ed25519PrivateKey):
        return Signer(key, "EdDSA", _known(OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "EdDSA"))
    raise Misconfigured(f"this key is neither of P-256 nor Ed25519; {_MAKE}", field=field)


_MAKE: Final = "make one: openssl ecparam -name prime256v1 -genkey -noout -out ssf.pem"


def _known(jwk: Mapping[str, Any], algorithm: str) -> dict[str, str]:
    key = {name: str(value) for name, value in jwk.items()}
    thumb = base64.urlsafe_b64encode(hashlib.sha256(canonical(key)).digest()).decode().rstrip("=")
    return {**key, "kid": thumb, "alg": algorithm, "use": "sig"}


def session_revoked(there: Receiver, subject: Mapping[str, str], *, jti: str, at: int) -> dict[str, Any]:
    """Return that all sessions of a subject were revoked, which people agreed to.

    Args:
        there: who is told.
        subject: what it calls whose they are.
        jti: the event's id.
        at: when, in seconds since 1970.
    """
    event = {"event_timestamp": at, "initiating_entity": "admin", "reason_admin": _reasons()}
    return _claims(there, subject, REVOKED, event, jti=jti, at=at)


def verification(there: Receiver, stream: str, *, jti: str, at: int) -> dict[str, Any]:
    """Return what asks whether events arrive, and says nothing of anybody.

    Args:
        there: who is asked.
        stream: what it calls the stream.
        jti: the event's id.
        at: when, in seconds since 1970.
    """
    return _claims(there, {"format": "opaque", "id": stream}, VERIFIES, {}, jti=jti, at=at)


def _claims(
    there: Receiver, subject: Mapping[str, str], kind: str, event: Mapping[str, Any], *, jti: str, at: int
) -> dict[str, Any]:
    # It says no end: an event has none, and what has one may be taken for a token that lets somebody in.
    who = {"iss": there.issuer, "aud": there.audience, "sub_id": dict(subject)}
    return {**who, "jti": jti, "iat": at, "events": {kind: event}}
