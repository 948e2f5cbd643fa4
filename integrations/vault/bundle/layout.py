"""How a bundle is spelled: the names in it, its lines of journal and heads, and what it says to whoever opens it."""

import base64
import re

from integrations.vault import envelope
from playbooks.record.evidence import Hex256, Stream
from playbooks.record.journal import Entry, Head
from playbooks.strict import Digest, Strict, canonical

MANIFEST = "manifest.dsse.json"
README = "README.txt"
JOURNAL = "journal.jsonl"
HEADS_FILE = "heads.jsonl"

README_TEXT = f"""\
EVIDENCE OF ONE INCIDENT

What is here

  {MANIFEST}      what the evidence consists of, signed (DSSE envelope, in-toto statement)
  exhibits/               the evidence, byte for byte as it was collected
  {JOURNAL}           everything that was done about the incident until this was made, each entry chained to
                          the one before
  {HEADS_FILE}             signatures over the ends of that chain
  keys/                   the public keys

Get the signer's public key some other way than with this bundle: whoever can replace the evidence can replace the keys
in it. Its id, which must be the one that you were told, is the output of

  openssl pkey -pubin -in KEY.pub -outform DER | sha256sum

Verify with mcp-soar. It needs no network, no account and no installation but the program:

  mcp-soar verify BUNDLE --key KEY.pub

Verify by hand, in this folder, with openssl 3, sha256sum, jq and xxd

1. The manifest is signed by that key. This prints "Signature Verified Successfully":

  jq -j .payload {MANIFEST} | base64 -d > /tmp/statement
  jq -j '.signatures[0].sig' {MANIFEST} | base64 -d > /tmp/signature
  printf 'DSSEv1 {len(envelope.PAYLOAD_TYPE)} {envelope.PAYLOAD_TYPE} %s ' "$(wc -c < /tmp/statement)" > /tmp/signed
  cat /tmp/statement >> /tmp/signed
  openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in /tmp/signed -sigfile /tmp/signature

2. Every file that it names is here and unchanged. This prints OK for each:

  jq -r '.subject[] | .digest.sha256 + "  " + .name' /tmp/statement | sha256sum -c

3. The journal is whole. This prints the hash of the last entry of the incident's stream, and nothing else:

  previous=$(printf '%064d' 0)
  incident=$(jq -r .predicate.incident /tmp/statement)
  jq -r "select(.stream == \\"incident/$incident\\") | .hash + \\" \\" + .data" {JOURNAL} | {{
    while read -r hash data; do
      next=$({{ printf %s "$previous" | xxd -r -p; printf %s "$data" | base64 -d; }} | sha256sum | cut -c 1-64)
      [ "$next" = "$hash" ] || echo "BROKEN at the entry with the hash $hash"
      previous=$hash
    done; echo "$previous"; }}

4. It ends where the manifest says, or later. This prints the last entry that the manifest vouches for:

  jq -r '.predicate.journal[] | .stream + " " + (.seq | tostring) + " " + .hash' /tmp/statement

To read an entry:  jq -r .data {JOURNAL} | head -n 1 | base64 -d
""".encode()

NAME = re.compile(
    r"(?:manifest\.dsse\.json|README\.txt|journal\.jsonl|heads\.jsonl|keys/[0-9a-f]{64}\.pub"
    r"|exhibits/x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79}/[a-z0-9][a-z0-9_.-]{0,99})",
)
"""Every path that a bundle may hold."""

FOLDER = re.compile(r"keys|exhibits(?:/x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79})?")


class EntryLine(Strict):
    """A line of the journal: the entry's bytes as base64."""

    stream: Stream
    seq: int
    data: str
    hash: Hex256


class HeadLine(Strict):
    """A line of the heads, signed; an anchor has its hash alone."""

    n: int
    data: str
    hash: Hex256
    signature: str


class HeadContent(Strict):
    """What a head says, read without trust."""

    at: str
    key: Digest
    n: int
    # Heads of the first release do not say what their commit added first.
    tips: tuple[tuple[Stream, int, Hex256, int] | tuple[Stream, int, Hex256], ...]


def entry_line(entry: Entry) -> bytes:
    """Return the one spelling of an entry."""
    data = base64.b64encode(entry.data).decode()
    line = EntryLine(stream=entry.stream, seq=entry.seq, data=data, hash=entry.hash.hex())
    return canonical(line) + b"\n"


def head_line(head: Head, *, anchor: bool) -> bytes:
    """Return the one spelling of a head."""
    data = "" if anchor else base64.b64encode(head.data).decode()
    signature = "" if anchor else head.signature.hex()
    return canonical(HeadLine(n=head.n, data=data, hash=head.hash.hex(), signature=signature)) + b"\n"


def is_anchor(line: int, n: int) -> bool:
    """Return whether a head is there for its hash alone.

    Without its predecessor's hash, a head's own cannot be computed. The first of a part is what the second is chained
    to; what could not be verified of it is left out.

    Args:
        line: where it stands, from 1.
        n: its number.
    """
    return line == 1 and n > 1


def key_path(key: str) -> str:
    """Return the path in a bundle of the public key of that id."""
    return f"keys/{key.removeprefix('sha256:')}.pub"
