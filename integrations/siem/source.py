"""`sources.yaml`: who may send alerts, how each proves who it is, and which class its alerts are.

    version: 1
    sources:
      falco:
        format: falco
        authentication:
          hmac: {secrets: [{env: FALCO_WEBHOOK_SECRET}]}
          window: 300s
        confidence: high
        classify:
          - {rule: MCP tool definition changed, class: tool_poisoning}
        default_class: unclassified

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`, so
the id, which is the nonce, and the time are covered like the body. A secret is `whsec_` and the base64 of 24 to 64
bytes.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from integrations.siem import alertmanager, elastic, falco, generic, ocsf
from integrations.siem.reading import MAX_BYTES, Malformed, Reported, load, read
from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.incident import Alert, Confidence
from playbooks.strict import Json, Line, Seconds, Slug, Strict, parse_yaml
from playbooks.taxonomy import IncidentClass

__all__ = [
    "FORMATS",
    "LARGEST",
    "MAX_BYTES",
    "Bearer",
    "Format",
    "Hmac",
    "Key",
    "Malformed",
    "Match",
    "Source",
    "Sources",
    "classify",
    "decoded_key",
    "new_secret",
    "parse",
    "read_keys",
    "read_sources",
    "same_token",
    "sign",
    "signed",
]

Key = bytes
"""The bytes of a secret: an HMAC key or a bearer token."""


class Format(StrEnum):
    """The shape of a source's messages."""

    FALCO = "falco"
    ELASTIC = "elastic"
    OCSF = "ocsf"
    ALERTMANAGER = "alertmanager"
    GENERIC = "generic"


FORMATS: Mapping[Format, Callable[[Json], tuple[Reported, ...]]] = MappingProxyType(
    {
        Format.FALCO: falco.findings,
        Format.ELASTIC: elastic.findings,
        Format.OCSF: ocsf.findings,
        Format.ALERTMANAGER: alertmanager.findings,
        Format.GENERIC: generic.findings,
    }
)
"""Every parser. Each is a pure function; the laws in `tests/contract/test_parsers.py` hold for all of them."""


LARGEST: Mapping[Format, int] = MappingProxyType({Format.ELASTIC: elastic.MAX_BYTES})
"""Bytes that a message may have, of the formats whose senders batch more than `MAX_BYTES` by default."""


class Secrets(Strict):
    """The secrets of one source.

    Args:
        secrets: one, or two while it is being rotated: the first signs what we send, both are accepted.
    """

    secrets: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=2)]


class Hmac(Strict):
    """Each message is signed.

    Args:
        hmac: the keys.
        window: how far a message's time may be from ours.
    """

    hmac: Secrets
    window: Annotated[Seconds, Field(ge=1, le=3600)] = 300.0


class Bearer(Strict):
    """Each message carries a token, which is why it must come over TLS."""

    bearer: Secrets


def _scheme(value: object) -> str | None:
    if isinstance(value, Hmac | Bearer):
        return type(value).__name__.lower()
    if isinstance(value, dict):
        return next((scheme for scheme in ("hmac", "bearer") if scheme in value), None)
    return "none" if value == "none" else None


Authentication = Annotated[
    Annotated[Hmac, Tag("hmac")] | Annotated[Bearer, Tag("bearer")] | Annotated[Literal["none"], Tag("none")],
    Discriminator(
        _scheme,
        custom_error_type="authentication",
        custom_error_message="write `hmac: {secrets: [...]}`, `bearer: {secrets: [...]}` or `none`",
    ),
]


class Match(Strict):
    """A detection, and the class that its alerts are.

    Args:
        rule: the detection's name, exactly.
        tag: one of its tags, exactly.
        title_contains: a part of its title, in any case. With a source whose titles quote what an attacker wrote,
            the attacker chooses among these: prefer a rule or a tag.
        incident_class: written `class`.
    """

    rule: Line | None = None
    tag: Line | None = None
    title_contains: Annotated[Line, Field(min_length=3)] | None = None
    incident_class: Annotated[IncidentClass, Field(alias="class")]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(condition is not None for condition in (self.rule, self.tag, self.title_contains)) != 1:
            raise ValueError("write exactly one of rule, tag or title_contains")
        return self


def _confidence(value: object) -> object:
    known = isinstance(value, str) and value.upper() in Confidence.__members__
    return Confidence[value.upper()] if known and isinstance(value, str) else value


class Source(Strict):
    """One sender of alerts.

    Args:
        format: the shape of its messages.
        authentication: how it proves who it is; with `none` its alerts only open incidents and run read-only steps.
        confidence: how far it is believed, whatever its alerts say of themselves.
        classify: which class an alert is; the first that matches counts.
        default_class: the class of an alert that none matches; without it, it has none.
    """

    format: Format
    authentication: Authentication
    confidence: Annotated[Confidence, BeforeValidator(_confidence)]
    classify: tuple[Match, ...] = ()
    default_class: IncidentClass | None = None

    @property
    def authenticated(self) -> bool:
        """Whether its messages prove who sent them."""
        return self.authentication != "none"

    @property
    def largest(self) -> int:
        """Bytes that a message of it may have."""
        return LARGEST.get(self.format, MAX_BYTES)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Where its secrets are found, the one that signs first."""
        if isinstance(self.authentication, Hmac):
            return self.authentication.hmac.secrets
        if isinstance(self.authentication, Bearer):
            return self.authentication.bearer.secrets
        return ()

    @model_validator(mode="after")
    def _believable(self) -> Self:
        if not self.authenticated and self.confidence is not Confidence.LOW:
            raise ValueError("anybody can send in the name of a source without authentication: its confidence is low")
        return self


class Sources(Strict):
    """The whole of `sources.yaml`."""

    version: Literal[1]
    sources: dict[Slug, Source] = Field(default_factory=dict)


def read_sources(text: str, *, file: str = "sources.yaml") -> Sources:
    """Return the sources that a file names.

    Args:
        text: the file's content.
        file: its name, for the error.

    Raises:
        Misconfigured: with line, field and what to write.
    """
    return parse_yaml(Sources, text, file=file)


def parse(raw: bytes, name: str, source: Source) -> tuple[Alert, ...]:
    """Return the alerts in a message, which must have been authenticated before.

    The class comes from the source's configuration alone, and no entity is looked up here: each is a claim.

    Args:
        raw: the message as it came.
        name: the source's name in `sources.yaml`.
        source: its configuration.

    Raises:
        Malformed: the message is not what the source's format says; names every field at fault.
    """
    return tuple(
        read(
            Alert,
            {
                **finding.model_dump(exclude={"tags"}),
                "source": name,
                "incident_class": classify(source, finding, own=name == OWN_COMPARISON),
            },
        )
        for finding in FORMATS[source.format](load(raw, largest=source.largest))
    )


def classify(source: Source, finding: Reported, *, own: bool = False) -> IncidentClass | None:
    """Return the class that a source's configuration gives a finding, or None.

    Args:
        source: the configuration.
        finding: what was reported. Its rule, tags and title are compared, never interpreted.
        own: whether it is a check of ours that reports: where no rule says another, a tag that is a class counts.
    """
    title = finding.title.casefold()
    for match in source.classify:
        if (
            (match.rule is not None and match.rule == finding.rule)
            or (match.tag is not None and match.tag in finding.tags)
            or (match.title_contains is not None and match.title_contains.casefold() in title)
        ):
            return match.incident_class
    named = (IncidentClass(tag) for tag in finding.tags if own and tag in set(IncidentClass))
    return next(named, source.default_class)


_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{24,512}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


def new_secret() -> str:
    """Return a new random secret, as Standard Webhooks writes it; it serves as a bearer token too."""
    return _PREFIX + base64.b64encode(random.token_bytes(32)).decode()


def read_keys(name: str, source: Source) -> tuple[Key, ...]:
    """Return a source's secrets from where its configuration says they are.

    Args:
        name: the source's name, for the error.
        source: its configuration.

    Raises:
        Misconfigured: one is not there or too weak; says which, never what it holds.
    """
    signed_by = isinstance(source.authentication, Hmac)
    return tuple(_key(_secret(secret, name), secret, name, hmac_key=signed_by) for secret in source.secrets)


def _where(secret: Secret) -> str:
    return f"environment variable {secret.env}" if secret.env else f"file {secret.file}"


def _secret(secret: Secret, name: str) -> str:
    if secret.env is not None:
        value = os.environ.get(secret.env, "")
    else:
        try:
            value = Path(str(secret.file)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise Misconfigured(f"{_where(secret)} cannot be read", field=f"sources.{name}.authentication") from exc
    if not (value := value.strip()):
        raise Misconfigured(f"{_where(secret)} holds no secret", field=f"sources.{name}.authentication")
    return value


def _key(value: str, secret: Secret, name: str, *, hmac_key: bool) -> Key:
    if not hmac_key:
        if not _TOKEN.fullmatch(value):
            raise Misconfigured(
                f"{_where(secret)} must hold 24 to 512 of the characters that a bearer token may have (RFC 6750)",
                field=f"sources.{name}.authentication",
            )
        return value.encode()
    key = decoded_key(value)
    if key is None:
        raise Misconfigured(
            f"{_where(secret)} must hold `whsec_` and the base64 of 24 to 64 random bytes",
            field=f"sources.{name}.authentication",
        )
    return key


def decoded_key(value: str) -> bytes | None:
    """Return the key that a secret of Standard Webhooks stands for, None if it is none.

    Args:
        value: `whsec_` and the base64 of 24 to 64 random bytes.
    """
    try:
        key = base64.b64decode(value.removeprefix(_PREFIX), validate=True)
    except ValueError:
        return None
    return key if value.startswith(_PREFIX) and len(key) in _KEY_BYTES else None


def sign(key: Key, message_id: str, timestamp: datetime | int, body: bytes) -> str:
    """Return the `webhook-signature` header for a message (Standard Webhooks, `v1`).

    Args:
        key: the first of `read_keys`.
        message_id: the `webhook-id` header: 1 to 100 letters, digits, `_` or `-`. The same for each attempt.
        timestamp: the `webhook-timestamp` header: seconds since 1970, of this attempt.
        body: the message, byte for byte as it is sent.

    Raises:
        ValueError: the id has a character that would make the signed text ambiguous.
    """
    if not _ID.fullmatch(message_id):
        raise ValueError("a webhook-id is 1 to 100 letters, digits, _ or -")
    seconds = int(timestamp.timestamp()) if isinstance(timestamp, datetime) else timestamp
    return "v1," + _mac(key, message_id.encode(), str(seconds).encode(), body).decode()


def signed(key: Key, message_id: str, timestamp: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed message; its body is JSON.

    Args:
        key: the first of `read_keys`.
        message_id: the nonce; see `sign`.
        timestamp: of this attempt.
        body: the message, byte for byte as it is sent.
    """
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(timestamp.timestamp())),
        "webhook-signature": sign(key, message_id, timestamp, body),
    }


def _mac(key: Key, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    mac = hmac.new(key, message_id + b"." + timestamp + b".", hashlib.sha256)
    mac.update(body)
    return base64.b64encode(mac.digest())


_MAX_SIGNATURES = 8
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def verify(
    keys: Sequence[Key], *, message_id: str, timestamp: str, signature: str, body: bytes, at: datetime, window: float
) -> bool:
    """Return whether a message was signed with one of the keys, now.

    Every key is tried against every signature whatever the others gave, and a message without headers costs the same
    computation over its body: neither the answer nor its time says what was wrong.

    Args:
        keys: the accepted keys.
        message_id: the `webhook-id` header; empty if there is none.
        timestamp: the `webhook-timestamp` header.
        signature: the `webhook-signature` header: signatures between spaces, of which `v1,…` are looked at.
        body: the message as it came.
        at: the present moment.
        window: how many seconds the timestamp may be away from it, either way.
    """
    well_formed = bool(_ID.fullmatch(message_id)) and bool(_TIMESTAMP.fullmatch(timestamp))
    given = [part[3:].encode() for part in signature.split(" ")[:_MAX_SIGNATURES] if part.startswith("v1,")] or [b""]
    matches = 0
    for key in keys:
        # Latin-1: whatever bytes the header held, as the server decoded them.
        expected = _mac(key, message_id.encode("latin-1", "replace"), timestamp.encode("latin-1", "replace"), body)
        for one in given:
            matches += hmac.compare_digest(expected, one)
    fresh = well_formed and abs(at.timestamp() - int(timestamp)) <= window
    return bool(matches) and fresh


def same_token(keys: Sequence[Key], token: str) -> bool:
    """Return whether a bearer token is one of the keys, in a time that does not depend on how much of it is right.

    Args:
        keys: the accepted tokens.
        token: the one that was sent.
    """
    # Digests are of one length, so the time does not tell the length of ours either.
    given = hashlib.sha256(token.encode("latin-1", "replace")).digest()
    return bool(sum(hmac.compare_digest(hashlib.sha256(key).digest(), given) for key in keys))


def generic_schema() -> dict[str, Any]:
    """Return the JSON Schema of our own format; `schemas/generic.schema.json` is this."""
    schema = generic.GenericAlert.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    import json

    print(json.dumps(generic_schema(), indent=2, ensure_ascii=False))  # noqa: T201  # its output is the file
