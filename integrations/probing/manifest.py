"""Signed tool manifests: a JWS at the server's own host, by a key that inventory.yaml pins, beside what is offered.

The payload is what `tools/list` answers: `{"tools": [...]}`. Source: RFC 7515 (compact serialization).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import jwt
from jwt.algorithms import OKPAlgorithm

from integrations import bounded
from integrations.probing.faults import Fault
from integrations.probing.stranger import Stranger
from integrations.protocol import pins
from playbooks.errors import Refused
from playbooks.estate.pins import PinKind
from playbooks.estate.probing import Manifest, Probed
from playbooks.record.check import Found

_OF_CURVES: Final = ("EdDSA", "Ed25519", "Ed448")
"""What the algorithm of such a key is called, the others since RFC 9864."""

_NAMED: Final = 3
"""Tools that a finding names."""

_LONGEST_HEADER: Final = 4096


async def signed_tools(server: str, agreed: Probed, asking: Stranger) -> list[Found]:
    """Ask for a server's signed manifest, and compare it with what it offers."""
    if agreed.manifest is None:
        return []
    at = urljoin(asking.url, agreed.manifest.path)
    carried = await asking.send("GET", headers={"Accept": "application/jose"}, url=at)
    if carried.status in {httpx.codes.NOT_FOUND, httpx.codes.GONE}:
        return [Fault.NO_MANIFEST.of(server, "missing")]
    if carried.status != httpx.codes.OK:
        raise Refused(f"server {server}: its manifest is answered with {carried.status}")
    payload, why = _verified(carried.raw.strip(), agreed.manifest)
    if payload is None:
        return [Fault.BAD_MANIFEST.of(server, f"not valid: {why}")]
    async with asking.session() as session:
        offered = await session.listed("tools")
    signed, there = _digests(payload, "signed"), _digests(offered, "offered")
    differ = sorted(name for name in signed.keys() | there.keys() if signed.get(name) != there.get(name))
    if not differ:
        return []
    named = [_how(name, name in signed, name in there) for name in differ[:_NAMED]]
    more = [f"and {len(differ) - _NAMED} more"] if len(differ) > _NAMED else []
    return [Fault.OTHER_MANIFEST.of(server, f"valid, and of other tools: {', '.join([*named, *more])}")]


@cache
def _reader() -> jwt.PyJWS:
    reader = jwt.PyJWS(algorithms=[*_OF_CURVES[:1], "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256"])
    for name in _OF_CURVES[1:]:
        reader.register_algorithm(name, OKPAlgorithm())
    return reader


def _how(name: str, signed: bool, offered: bool) -> str:  # noqa: FBT001  # of one tool
    return f"{name} differs" if signed and offered else f"{name} is not offered" if signed else f"{name} is not in it"


def _digests(tools: Any, whose: str) -> Mapping[str, Sequence[str]]:  # noqa: ANN401  # JSON
    """Return the digests of each name: of two tools of a name neither is known to be the one."""
    found: dict[str, list[str]] = {}
    for one in (pins.definition(PinKind.TOOL, tool) for tool in tools if isinstance(tool, dict)):
        # What has no canonical form equals nothing.
        found.setdefault(one.name, []).append(whose if one.fingerprint.fault else one.digest)
    return {name: sorted(some) for name, some in found.items()}


def _verified(raw: bytes, manifest: Manifest) -> tuple[list[Any] | None, str]:
    """Return the tools of a manifest; or None, and why it is not valid."""
    head, _, _ = raw.partition(b".")
    if raw.count(b".") != 2 or len(head) > _LONGEST_HEADER:  # noqa: PLR2004  # header, payload, signature
        return None, "it is no JWS"
    for field in manifest.keys:
        try:
            key = jwt.PyJWK(dict(field))
            names = _OF_CURVES if field["kty"] == "OKP" else (key.algorithm_name,)
            payload = _reader().decode(raw, key=key.key, algorithms=names)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
        value = bounded.readable(payload)
        tools = value.get("tools") if isinstance(value, dict) else None
        return (tools, "") if isinstance(tools, list) else (None, "what is signed is no list of tools")
    return None, "no pinned key signed it"
