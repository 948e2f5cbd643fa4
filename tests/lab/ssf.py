"""A receiver of security events, as applications have one that keep sessions of their own.

There is none to be had that runs by itself: this is a stand-in that speaks the real protocol (RFC 8935), and checks
what it is told as a receiver has to: signature, type, algorithm, issuer, audience, time, and whether it has it already.
It reads events with another library than the one that signs them.
"""

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet, KeySetSerialization

from integrations.systems.ssf import Receiver
from integrations.systems.ssf.events import REVOKED, VERIFIES, signer
from tests.lab import http_served
from tests.lab.oidc import kept

ISSUER, AUDIENCE, TOKEN, STREAM = (
    "https://soar.example.com",
    "https://app.example.com/events",
    "let-me-in-please",
    "s-1",
)


def pem(kind: str = "P-256", passphrase: str = "") -> str:
    """Return a new private key: of P-256, P-384, Ed25519 or RSA."""
    makes: dict[str, Any] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
    }
    hidden: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    raw: bytes = makes[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)
    return raw.decode()


@dataclass
class Application:
    """What listens, and keeps sessions of its own.

    Args:
        jwks: the keys that it takes events of.
        clock: seconds that its clock is ahead of ours.
        forgets: it says 202 and keeps nothing.
        refuses: it answers every event with this `err`.
        says: it answers everything with this status and body.
        silent: it takes an event, and never answers.
        lost: how many of its next answers are lost on the way.
        told: subjects whose sessions it ended, each once for each event.
        taken: the events that it has, by their ids, as they came.
        presented: each event that it was shown, to the letter.
    """

    jwks: KeySetSerialization
    clock: float = 0.0
    forgets: bool = False
    refuses: str = ""
    says: tuple[int, object] | None = None
    silent: bool = False
    lost: int = 0
    told: list[dict[str, str]] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    presented: list[str] = field(default_factory=list)

    async def answer(self, request: http_served.Request) -> tuple[int, object]:
        status, body = self.says or self._judged(request)
        if self.lost:
            self.lost -= 1
            raise ConnectionError
        if self.silent:
            await asyncio.Event().wait()
        return status, body

    def _judged(self, request: http_served.Request) -> tuple[int, object]:  # noqa: PLR0911  # a table
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _no("authentication_failed")
        if request.method != "POST" or request.headers.get("content-type") != "application/secevent+jwt":
            return _no("invalid_request")
        if self.refuses:
            return _no(self.refuses)
        try:
            with warnings.catch_warnings():
                # By its older name (RFC 9864), which is what receivers know.
                warnings.simplefilter("ignore", SecurityWarning)
                event = jws.deserialize_compact(request.body, KeySet.import_key_set(self.jwks), ["ES256", "EdDSA"])
        except (JoseError, ValueError) as exc:
            return _no("invalid_key", str(exc))
        claims = json.loads(event.payload or b"")
        if event.headers()["typ"] != "secevent+jwt" or "exp" in claims or "sub" in claims:
            return _no("invalid_request", "no security event")
        if claims["iss"] != ISSUER:
            return _no("invalid_issuer")
        if claims["aud"] != AUDIENCE:
            return _no("invalid_audience")
        if claims["iat"] > time.time() + self.clock:
            return _no("invalid_request", "iat is in the future")
        return self._taken(claims, request.body.decode())

    def _taken(self, claims: dict[str, Any], event: str) -> tuple[int, object]:
        self.presented.append(event)
        ((kind, what),) = claims["events"].items()
        if kind == REVOKED:
            assert what["event_timestamp"] <= time.time()
            assert what["initiating_entity"] in {"admin", "user", "policy", "system"}
            assert set(what["reason_admin"]) == {"en", "ko"}
        elif kind != VERIFIES or claims["sub_id"] != {"format": "opaque", "id": STREAM}:
            return _no("invalid_request", f"nobody asked for {kind}")
        if not self.forgets and claims["jti"] not in self.taken:
            self.taken[claims["jti"]] = event
            self.told += [claims["sub_id"]] if kind == REVOKED else []
        return 202, None


def _no(error: str, description: str = "") -> tuple[int, object]:
    return 400, {"err": error, "description": description}


@dataclass(frozen=True)
class Listening:
    """A receiver that runs.

    Args:
        application: what listens.
        url: where events are pushed to.
        folder: where our key and token are, and what is told is kept.
    """

    application: Application
    url: str
    folder: Path

    def settings(self, **more: object) -> Receiver:
        """Return how we reach it."""
        secrets = {name: {"file": str(self.folder / name)} for name in ("key", "token")}
        written = {"kind": "ssf", "url": self.url, "audience": AUDIENCE, "issuer": ISSUER, "stream": STREAM, **secrets}
        return Receiver.model_validate({**written, "folder": str(self.folder / "told"), **more})


@asynccontextmanager
async def listening(folder: Path, kind: str = "P-256") -> AsyncIterator[Listening]:
    """Run a receiver that knows our key.

    Args:
        folder: for our key, our token and what is told.
        kind: of the key.
    """
    ours = pem(kind)
    kept(folder, "key", ours)
    kept(folder, "token", TOKEN)
    application = Application({"keys": [dict(signer(ours).public)]})
    async with http_served.serve(application.answer) as address:
        yield Listening(application, f"{address}/events", folder)
