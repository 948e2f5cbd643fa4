"""Whether an image is signed by one of some keys, as `cosign sign --key` does it; its registry is asked, as nobody.

Cosign's own specification of signatures: beside an image `sha256:HEX` the registry has a manifest under the tag
`sha256-HEX.sig`, each of whose layers is a payload that names the image's digest, with its signature as an annotation.
Signatures without a key of one's own (by an identity, through Rekor), and attestations, are not read.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from integrations import bounded
from integrations.hostile import printable
from integrations.http import FAULTS, connecting
from playbooks.errors import Misconfigured, Transient
from playbooks.estate.image import Reference

Key = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
_LARGEST: Final = 1024 * 1024
_LAYERS: Final = 20
"""Signatures of one image that are tried."""

_MANIFESTS: Final = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_OURS: Final = ("127.0.0.1", "localhost", "[::1]")
"""Hosts that are asked without TLS, as container runtimes do."""


def read(keys: Sequence[str], field: str) -> list[Key]:
    """Return public keys.

    Args:
        keys: as PEM.
        field: of inventory.yaml.

    Raises:
        Misconfigured: one is none, or of a kind that cosign does not sign with.
    """
    found: list[Key] = []
    for number, pem in enumerate(keys):
        where = f"{field}[{number}]"
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise Misconfigured(
                "write a public key as PEM, as `cosign public-key --key KEY` prints it", field=where
            ) from exc
        if not isinstance(key, Key):
            raise Misconfigured("cosign signs with ECDSA, Ed25519 or RSA keys", field=where)
        found.append(key)
    return found


async def signed(image: Reference, keys: Sequence[Key]) -> str:
    """Return why an image is not signed by any of some keys; empty if it is.

    Args:
        image: with its digest.
        keys: of which one suffices.

    Raises:
        Transient: its registry does not say.
        Refused: it says more than anybody needs.
    """
    host = image.registry
    scheme = "http" if host.rpartition(":")[0] in _OURS or host in _OURS else "https"
    base = f"{scheme}://{host}/v2/{image.repository}"
    tag = f"{image.digest.replace(':', '-')}.sig"
    async with connecting(base, {"Accept": _MANIFESTS}) as http:

        async def get(path: str) -> bytes | None:
            try:
                async with http.stream("GET", f"{base}/{path}") as answer:
                    raw = await bounded.body(answer, f"registry {host}", largest=_LARGEST)
            except FAULTS as exc:
                raise Transient(f"registry {host} does not answer ({type(exc).__name__})") from exc
            if answer.status_code == 404:  # noqa: PLR2004  # HTTP
                return None
            if not answer.is_success:
                raise Transient(f"registry {host} answers {answer.status_code} to somebody without credentials")
            return raw

        manifest = await get(f"manifests/{tag}")
        if manifest is None:
            # A registry that has nothing at all of it is not one that says that it is unsigned.
            if await get(f"manifests/{image.digest}") is None:
                raise Transient(f"registry {host} has no such image: nobody can say whether it is signed")
            return "by nobody"
        for digest, signature in _layers(manifest):
            payload = await get(f"blobs/{digest}")
            if payload is None or f"sha256:{hashlib.sha256(payload).hexdigest()}" != digest:
                continue
            if _of(payload) == image.digest and any(_good(key, signature, payload) for key in keys):
                return ""
    return "by none of your keys, or for another image"


def _layers(manifest: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the payloads' digests, each with its signature; hostile."""
    found = bounded.readable(manifest)
    layers = found.get("layers") if isinstance(found, dict) else None
    for layer in layers[:_LAYERS] if isinstance(layers, list) else ():
        if not isinstance(layer, dict) or not isinstance(notes := layer.get("annotations"), dict):
            continue
        digest, written = str(layer.get("digest")), str(notes.get(_SIGNATURE))
        if len(digest) != len("sha256:") + 64 or not digest[7:].isalnum():
            continue
        try:
            yield digest, base64.b64decode(written, validate=True)
        except (binascii.Error, ValueError):
            continue


def _of(payload: bytes) -> str:
    """Return the digest that a payload names."""
    found: Any = bounded.readable(payload)
    for name in ("critical", "image", "docker-manifest-digest"):
        found = found.get(name) if isinstance(found, dict) else None
    return printable(found, 200) if isinstance(found, str) else ""


def _good(key: Key, signature: bytes, payload: bytes) -> bool:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, payload, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, payload, padding.PKCS1v15(), SHA256())
        else:
            key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True
