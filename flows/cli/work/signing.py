"""Signing what a person asks for: with their key's file, or with ssh-agent, which keeps the key to itself."""

import base64
import os
from pathlib import Path

from flows.cli.options import AGENT, key_file
from flows.service.settings import Configuration
from integrations import ssh_agent
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured
from playbooks.people.request import Request, SignedRequest, sign


async def signed(config: Configuration | None, request: Request, key: Path | None) -> SignedRequest:
    """Return a request with its actor's signature.

    Args:
        config: says which key is enrolled, which the agent is asked for; None on a machine that has none, where the
            public half stands beside the usual file, as `NAME.pub`.
        request: what is asked for.
        key: the key's file, or `AGENT`; None for the usual file, and the agent if that is not there.

    Raises:
        Misconfigured: if no key of theirs is to be had.
        Refused: if the agent does not sign.
        Transient: if the agent does not answer.
    """
    if key == AGENT:
        return await _by_agent(config, request)
    name = request.actor
    file = key or (file_of(config, name) if config is not None else key_file(name))
    at_hand(config, name, key)
    if file.exists():
        return sign(request, SigningKey.load(file).sign)
    absent = _absent(name)
    try:
        return await _by_agent(config, request)
    except Misconfigured as exc:
        raise Misconfigured(f"{absent}. Nor by the agent: {exc}", file=str(file)) from exc


def file_of(config: Configuration, name: str) -> Path:
    """Return where a person's key is: among the configuration's keys if it is there, else in their own folder.

    Args:
        config: the installation that is asked.
        name: as enrolled.

    Raises:
        Usage: the name cannot be a file's.
    """
    own = key_file(name)
    beside = config.folder / "keys" / own.name
    # The responder's key speaks for no person, whatever the person is called.
    kept = beside.exists() and beside.resolve() != config.path(config.settings.key).resolve()
    return beside if kept else own


def at_hand(config: Configuration | None, name: str, key: Path | None) -> None:
    """See that there is a key to sign with, or an agent that may have it.

    Args:
        config: the installation that is asked; None on a machine that has none.
        name: whose.
        key: the key's file, or `AGENT`; None for the usual file, and the agent if that is not there.

    Raises:
        Misconfigured: if there is none.
    """
    file = key or (file_of(config, name) if config is not None else key_file(name))
    if key != AGENT and not file.exists() and (key is not None or not _socket()):
        raise Misconfigured(_absent(name), file=str(file))


def _absent(name: str) -> str:
    return f"there is no key of {name}; `mcp-soar enroll {name}` makes one, --key FILE names another"


def _socket() -> str:
    return os.environ.get("SSH_AUTH_SOCK", "")


async def _by_agent(config: Configuration | None, request: Request) -> SignedRequest:
    if not _socket():
        raise Misconfigured("no ssh-agent: SSH_AUTH_SOCK is not set. `eval $(ssh-agent)` starts one")
    public = _public(config, request.actor)
    signature = await ssh_agent.sign(public, request.signing_bytes(), agent=_socket())
    return sign(request, lambda _: signature)


def _public(config: Configuration | None, name: str) -> PublicKey:
    """Return somebody's public key, which the agent is asked for."""
    if config is None:
        file = key_file(name).with_suffix(".pub")
        if not file.exists():
            message = (
                f"which key in ssh-agent is {name}'s is not known here: put its public half there (id_ed25519.pub)"
            )
            raise Misconfigured(message, file=str(file))
        return PublicKey.load(file)
    enrolled = config.people().people.get(name)
    if enrolled is None:
        where = str(config.folder / "people.yaml")
        raise Misconfigured(f"{name} is not enrolled, so no key in ssh-agent can be theirs", file=where)
    return PublicKey.from_raw(base64.b64decode(enrolled.key.removeprefix("ed25519:")))
