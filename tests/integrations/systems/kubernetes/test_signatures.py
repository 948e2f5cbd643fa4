"""Signatures of images: by a registry that speaks as the real ones do, with keys as cosign makes them."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from integrations.systems.kubernetes import signatures
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.estate.image import Reference
from tests.lab.served import Asked, serving

IMAGE = "sha256:" + "a" * 64
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def payload(digest: str) -> bytes:
    critical = {"identity": {"docker-reference": ""}, "image": {"docker-manifest-digest": digest}}
    return json.dumps({"critical": {**critical, "type": "cosign container image signature"}, "optional": None}).encode()


class Registry:
    """A registry with one image, and what is signed of it."""

    def __init__(self) -> None:
        self.manifests: dict[str, Any] = {IMAGE: {"layers": []}}
        self.blobs: dict[str, str] = {}
        self.status = 0

    def sign(self, key: ec.EllipticCurvePrivateKey, said: bytes) -> None:
        """Add a signature, as cosign does."""
        digest = f"sha256:{hashlib.sha256(said).hexdigest()}"
        self.blobs[digest] = said.decode()
        signature = base64.b64encode(key.sign(said, ec.ECDSA(SHA256()))).decode()
        kind = "application/vnd.dev.cosign.simplesigning.v1+json"
        layer = {"mediaType": kind, "digest": digest, "annotations": {"dev.cosignproject.cosign/signature": signature}}
        self.manifests.setdefault(f"{IMAGE.replace(':', '-')}.sig", {"layers": []})["layers"].append(layer)

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], object]:
        """Answer."""
        assert asked.method == "GET"
        assert "authorization" not in asked.headers
        kind, _, what = asked.target.removeprefix("/v2/team/weather/").partition("/")
        there = {"manifests": self.manifests, "blobs": self.blobs}[kind]
        if self.status:
            return self.status, {"Location": "http://127.0.0.1:9/"}, {}
        return (200, {}, there[what]) if what in there else (404, {}, {"errors": []})


async def asked(registry: Registry, *keys: ec.EllipticCurvePrivateKey) -> str:
    async with serving(registry) as place:
        host = place.url.removeprefix("http://").partition("/")[0]
        image = Reference(host, "team/weather", "", IMAGE)
        return await signatures.signed(image, signatures.read([pem(key) for key in keys], "keys"))


async def test_an_image_is_signed_by_one_of_the_keys_or_by_nobody() -> None:
    registry = Registry()
    assert await asked(registry, KEY) == "by nobody"
    registry.sign(OTHER, payload(IMAGE))
    assert "none of your keys" in await asked(registry, KEY)
    assert await asked(registry, KEY, OTHER) == ""
    registry.sign(KEY, payload("sha256:" + "b" * 64))
    assert "for another image" in await asked(registry, KEY)
    registry.sign(KEY, payload(IMAGE))
    assert await asked(registry, KEY) == ""
    digest = f"sha256:{hashlib.sha256(payload(IMAGE)).hexdigest()}"
    registry.blobs[digest] = payload(IMAGE).decode() + " "
    assert "none of your keys" in await asked(registry, KEY), "the registry has another payload than it says"


async def test_a_registry_that_does_not_say_leaves_it_unknown() -> None:
    registry = Registry()
    registry.manifests.clear()
    with pytest.raises(Transient, match="no such image"):
        await asked(registry, KEY)
    for registry.status in (401, 307, 500):
        with pytest.raises(Transient, match=str(registry.status)):
            await asked(registry, KEY)
    with pytest.raises(Transient, match="does not answer"):
        await signatures.signed(Reference("127.0.0.1:9", "a", "", IMAGE), [])
    registry.status = 0
    odd: Any
    for odd in ([], {"layers": 3}, {"layers": [None, {"annotations": []}, {"digest": "../..", "annotations": {}}]}):
        registry.manifests = {f"{IMAGE.replace(':', '-')}.sig": odd}
        assert "none of your keys" in await asked(registry, KEY)
    registry.manifests = {f"{IMAGE.replace(':', '-')}.sig": {"layers": ["x" * 2_000_000]}}
    with pytest.raises(Refused, match="longer"):
        await asked(registry, KEY)


def test_a_key_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(Misconfigured, match="public key as PEM") as fault:
        signatures.read([pem(KEY), "-----BEGIN"], "systems.prod.signed.keys")
    assert "systems.prod.signed.keys[1]" in str(fault.value)
