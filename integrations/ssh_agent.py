"""Signing with an Ed25519 key that lives in ssh-agent, which never hands it out.

Of asyncssh only its client of the agent's protocol is used (draft-ietf-sshm-ssh-agent). For `ssh-ed25519` the agent
signs the bytes as they are (RFC 8709, 6), so that the signature is the same as a key file's. A hardware key
(`sk-ssh-ed25519`) signs other bytes: a hash of them with the application's name, flags and a counter (PROTOCOL.u2f).
"""

import asyncio
import struct
from collections.abc import Sequence

from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused, Transient

PATIENCE = 60.0
"""Seconds that a person has to confirm a key that asks (`ssh-add -c`)."""

_ALGORITHM = b"ssh-ed25519"


async def sign(public: PublicKey, data: bytes, *, agent: str) -> bytes:
    """Return the signature over bytes by the key whose public half this is.

    Args:
        public: the enrolled key.
        data: what is signed.
        agent: the agent's socket, as SSH_AUTH_SOCK names it.

    Raises:
        Misconfigured: if there is no agent, or it does not hold the key.
        Refused: if it does not sign.
        Transient: if it does not answer in time.
    """
    from asyncssh.agent import SSHAgentClient  # noqa: PLC0415  # it takes a fifth of a second, which only this needs

    blob = _string(_ALGORITHM) + _string(public.raw)
    try:
        async with asyncio.timeout(PATIENCE), SSHAgentClient(agent) as client:
            try:
                await client.connect()
            except OSError as exc:
                message = f"no ssh-agent answers at {agent} ({exc.strerror or exc}); `ssh-agent` starts one"
                raise Misconfigured(message) from exc
            try:
                held = await client.get_keys()
            except ValueError as exc:
                raise Misconfigured(f"what answers at {agent} is no ssh-agent: {exc}") from exc
            if not any(key.public_data == blob for key in held):
                raise Misconfigured(_absent([key.algorithm for key in held]))
            try:
                signature = _plain(await client.sign(blob, data))
            except ValueError as exc:
                message = "ssh-agent holds the key and does not sign with it: it was locked, or nobody confirmed"
                raise Refused(message) from exc
    except TimeoutError as exc:
        raise Transient(f"ssh-agent did not answer within {PATIENCE:g} s") from exc
    if not public.signed(data, signature):
        raise Refused("what ssh-agent returned is not this key's signature over the request")
    return signature


def _absent(held: Sequence[bytes]) -> str:
    if not held:
        return "ssh-agent shows no keys: none is loaded (`ssh-add FILE`), or it is locked (`ssh-add -X`)"
    kinds = ", ".join(sorted({kind.decode("ascii", "replace") for kind in held}))
    message = f"ssh-agent holds {len(held)} keys ({kinds}), and none is the enrolled one; `ssh-add FILE` loads it"
    if any(kind.startswith(b"sk-") for kind in held):
        message += ". A hardware key (sk-) signs other bytes than it is given, and cannot be enrolled"
    return message


def _string(data: bytes) -> bytes:
    """Return bytes with their length in front (RFC 4251, 5)."""
    return struct.pack(">I", len(data)) + data


def _plain(signature: bytes) -> bytes:
    """Return the signature itself, out of the agent's envelope (RFC 8709, 6).

    Raises:
        ValueError: if it is none of Ed25519.
    """
    head = _string(_ALGORITHM) + struct.pack(">I", 64)
    if not signature.startswith(head) or len(signature) != len(head) + 64:
        message = "no Ed25519 signature"
        raise ValueError(message)
    return signature[len(head) :]
