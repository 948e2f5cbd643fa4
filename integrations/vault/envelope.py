"""A manifest under a signature: RFC 8785 bytes → in-toto Statement v1 → DSSE envelope.

The envelope's own bytes are canonical too: JSON and base64 can spell one content in many ways, and one is accepted.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Signature, Signer  # type: ignore[attr-defined]  # re-exports without __all__

from integrations.signing import PublicKey
from playbooks.errors import Refused
from playbooks.record.evidence import Hex256, Hex512, Manifest
from playbooks.strict import Strict, canonical

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://mcp-soar.dev/evidence/v1"
MOST_BYTES = 64 << 20
"""The largest envelope that is read, in bytes."""

_ENVELOPE = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/]*={0,2})","payloadType":"application/vnd\.in-toto\+json",'
    rb'"signatures":\[\{"keyid":"(sha256:[0-9a-f]{64})","sig":"([A-Za-z0-9+/]{1,4096}={0,2})"\}\]\}',
)
"""The one spelling of an envelope: it is read without making objects of whatever JSON a stranger sends."""


class Hashes(Strict):
    """The digests of a file, in hex, as in-toto names them."""

    sha256: Hex256
    sha512: Hex512 | None = None


class Subject(Strict):
    """One file that the statement vouches for.

    Args:
        name: its path in the bundle.
        digest: its hashes.
    """

    name: str = Field(max_length=300)
    digest: Hashes


class Statement(Strict):
    """What is signed: the files of a bundle, and the manifest that says what they are (in-toto Statement v1)."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...]
    predicateType: Literal["https://mcp-soar.dev/evidence/v1"]  # noqa: N815  # in-toto's spelling
    predicate: Manifest


def path_of(exhibit: str, file: str) -> str:
    """Return the path in a bundle of one file of an exhibit."""
    return f"exhibits/{exhibit}/{file}"


def statement(manifest: Manifest, documents: Mapping[str, Hashes]) -> bytes:
    """Return the canonical bytes of the statement about a bundle.

    Args:
        manifest: what the evidence consists of.
        documents: what else the bundle has to have, by path.
    """
    subjects = dict(documents) | {
        path_of(exhibit.id, file.name): Hashes(sha256=file.sha256.removeprefix("sha256:"), sha512=file.sha512)
        for exhibit in manifest.exhibits
        for file in exhibit.files
    }
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": subjects[name].model_dump(mode="json", exclude_none=True)}
                for name in sorted(subjects)
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": manifest.model_dump(mode="json"),
        }
    )


def sign(manifest: Manifest, signer: Signer, *, documents: Mapping[str, bytes] | None = None) -> bytes:
    """Return the signed envelope of a manifest (DSSE 1.0), as the bytes to store.

    Args:
        manifest: what the evidence consists of.
        signer: the key, as `SigningKey.dsse()` gives it, or one in a KMS.
        documents: what else the bundle has to have, by path.
    """
    hashes = {name: Hashes(sha256=hashlib.sha256(data).hexdigest()) for name, data in (documents or {}).items()}
    envelope = Envelope(statement(manifest, hashes), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def read(data: bytes) -> Statement:
    """Return what an envelope says, whoever signed it.

    Args:
        data: the envelope's bytes.

    Raises:
        Refused: if it is no envelope of ours, or not spelled as `sign` spells it.
    """
    return _content(_opened(data))


def verify(data: bytes, key: PublicKey) -> Statement:
    """Return what an envelope says, if this key signed it; nothing that it did not sign is read.

    Args:
        data: the envelope's bytes.
        key: the only key that counts; those that come with the envelope do not.

    Raises:
        Refused: if it did not, or the bytes are no envelope of ours.
    """
    envelope = _opened(data)
    try:
        envelope.verify([key.dsse()], threshold=1)
    except VerificationError as exc:
        named = ", ".join(envelope.signatures)
        raise Refused(f"key {key.id} did not sign this manifest (it names {named})") from exc
    return _content(envelope)


def _opened(data: bytes) -> Envelope:
    if len(data) > MOST_BYTES:
        raise Refused(f"the manifest has more than {MOST_BYTES} bytes")
    shape = _ENVELOPE.fullmatch(data)
    if shape is None:
        raise Refused("the manifest is no envelope of ours")
    payload, key, signature = shape.groups()
    try:
        content, signed = (base64.b64decode(part, validate=True) for part in (payload, signature))
    except ValueError as exc:
        raise Refused("the manifest is no envelope of ours") from exc
    # Written anew it must come out the same: base64 can spell one content in many ways.
    if base64.b64encode(content) != payload or base64.b64encode(signed) != signature:
        raise Refused("the manifest is not spelled canonically")
    keyid = key.decode()
    return Envelope(content, PAYLOAD_TYPE, {keyid: Signature(keyid, signed.hex())})


def _content(envelope: Envelope) -> Statement:
    try:
        content = Statement.model_validate_json(envelope.payload)
    except ValueError as exc:
        raise Refused("the manifest's content is not a manifest") from exc
    own = {path_of(exhibit.id, file.name) for exhibit in content.predicate.exhibits for file in exhibit.files}
    documents = {subject.name: subject.digest for subject in content.subject if subject.name not in own}
    # Another spelling, a subject twice, or a file without its exhibit does not come out the same either.
    if statement(content.predicate, documents) != envelope.payload:
        raise Refused("the manifest is not spelled canonically, or its files are not those of its exhibits")
    return content
