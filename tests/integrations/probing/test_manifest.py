"""A signed manifest, made with another library than the one that reads it: valid, not valid, or of other tools."""

import json
import warnings
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from integrations.probing.manifest import signed_tools
from integrations.probing.stranger import Stranger
from playbooks.errors import Misconfigured, Refused
from playbooks.estate.probing import Probed
from playbooks.strict import parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.integrations.probing.test_manners import closed, good
from tests.lab.served import Asked, serving

Key = OKPKey | ECKey | RSAKey
PATH = "/.well-known/mcp-tools.jws"
TOOL = {"name": "add", "inputSchema": {"type": "object"}}
OURS = OKPKey.generate_key("Ed25519")


def signed(payload: object, key: Key = OURS, algorithm: str = "Ed25519") -> str:
    raw = json.dumps(payload).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA, which is still in use
        return jws.serialize_compact({"alg": algorithm}, raw, key, algorithms=[algorithm])


def agreed(*keys: Key) -> Probed:
    public = [key.as_dict(private=False) for key in keys or (OURS,)]
    plain = [{name: value for name, value in one.items() if isinstance(value, str)} for one in public]
    return Probed.model_validate({"agreed": "Kim", "manifest": {"keys": plain}})


async def found(manifest: object, probed: Probed | None = None, *, status: int = 200) -> set[tuple[str, IncidentClass]]:
    """Return what is found of a server with that manifest that offers one tool."""

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        return (status, {}, manifest) if asked.target == PATH else good(asked)

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        faults = await signed_tools("lab", probed or agreed(), asking)
    return {(one.observed, one.incident_class) for one in faults}


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (OURS, "Ed25519"),
        (OURS, "EdDSA"),
        (ECKey.generate_key("P-256"), "ES256"),
        (RSAKey.generate_key(2048), "RS256"),
    ],
    ids=["Ed25519", "EdDSA", "ES256", "RS256"],
)
async def test_one_that_a_pinned_key_signed_and_that_is_of_what_is_offered_gives_nothing(
    key: Key, algorithm: str
) -> None:
    other = OKPKey.generate_key("Ed25519")
    assert await found(signed({"tools": [TOOL]}, key, algorithm), agreed(other, key)) == set()


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([{**TOOL, "description": "another"}], "add differs"),
        ([], "add is not in it"),
        ([TOOL, {**TOOL, "name": "gone"}], "gone is not offered"),
        ([TOOL, TOOL], "add differs"),
    ],
)
async def test_one_of_other_tools_is_told_as_poisoning(tools: list[dict[str, Any]], said: str) -> None:
    wanted = (f"valid, and of other tools: {said}", IncidentClass.TOOL_POISONING)
    assert await found(signed({"tools": tools})) == {wanted}


async def test_what_has_no_canonical_form_is_of_nothing_that_is_signed() -> None:
    odd = {**TOOL, "inputSchema": {"minimum": 2**60}}

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        if asked.message.get("method") == "tools/list":
            return 200, {}, {"jsonrpc": "2.0", "id": asked.message["id"], "result": {"tools": [odd]}}
        return (200, {}, signed({"tools": [odd]})) if asked.target == PATH else good(asked)

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        (one,) = await signed_tools("lab", agreed(), asking)
    assert one.observed == "valid, and of other tools: add differs"


def _tampered() -> str:
    head, _, signature = signed({"tools": [TOOL]}).split(".")
    return f"{head}.{signed({'tools': []}).split('.')[1]}.{signature}"


def _unsigned() -> str:
    return f"eyJhbGciOiJub25lIn0.{signed({'tools': [TOOL]}).split('.')[1]}."


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        (signed({"tools": [TOOL]}, OKPKey.generate_key("Ed25519")), "no pinned key signed it"),
        (_tampered(), "no pinned key signed it"),
        (_unsigned(), "no pinned key signed it"),
        (f"{'A' * 3000}.e30.AA", "no pinned key signed it"),
        (f"{'A' * 9000}.e30.AA", "it is no JWS"),
        ("<html>", "it is no JWS"),
        (signed([TOOL]), "what is signed is no list of tools"),
        (signed({"tools": "all"}), "what is signed is no list of tools"),
    ],
    # Signed anew in each process, so no name for a test.
    ids=["foreign", "tampered", "unsigned", "long", "too long", "a page", "a list", "no list"],
)
async def test_one_that_is_not_valid_is_told_as_spoofing(manifest: str, why: str) -> None:
    assert await found(manifest) == {(f"not valid: {why}", IncidentClass.SERVER_SPOOFING)}


async def test_one_that_is_missing_is_found_and_one_that_cannot_be_had_or_compared_is_unknown() -> None:
    assert await found("", status=404) == {("missing", IncidentClass.INSECURE_CONFIGURATION)}
    with pytest.raises(Refused, match="answered with 503"):
        await found("", status=503)

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        return (200, {}, signed({"tools": [TOOL]})) if asked.target == PATH else closed(asked)

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        with pytest.raises(Misconfigured, match="without credentials"):
            await signed_tools("lab", agreed(), asking)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("{kty: oct, k: c2VjcmV0}", "kty: OKP, EC or RSA"),
        ("{kty: OKP, crv: Ed25519}", "a public key has x"),
        ("{kty: OKP, crv: Ed25519, x: AA, d: AA}", "this is a private key"),
    ],
)
def test_a_key_that_is_none_is_refused_where_it_is_written(key: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=r"manifest\.keys") as refused:
        parse_yaml(Probed, f"agreed: Kim\nmanifest:\n  keys: [{key}]\n", file="inventory.yaml")
    assert said in str(refused.value)
