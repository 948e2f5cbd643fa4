"""Signing with a key in a real ssh-agent: the same signature as the key file's, and clear words where there is none."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from integrations import ssh_agent
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from tests.lab.ssh import Agent, agent_running, keygen, require_openssh, told

DATA = b"mcp-soar request v1\n{}"


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path has at most 107 bytes, and pytest's folders have long names.
    with tempfile.TemporaryDirectory(prefix="soar-") as path:
        yield Path(path)


@pytest.fixture
def agent(folder: Path) -> Iterator[Agent]:
    require_openssh()
    with agent_running(folder) as running:
        yield running


async def why(public: PublicKey, agent: Agent | Path, error: type[SoarError] = Misconfigured) -> str:
    """Return why nothing is signed."""
    with pytest.raises(error) as caught:
        await ssh_agent.sign(public, DATA, agent=str(agent.socket if isinstance(agent, Agent) else agent))
    return str(caught.value)


async def test_the_agent_signs_the_bytes_as_they_are(agent: Agent, folder: Path) -> None:
    public = PublicKey.load(keygen(folder / "id"))
    keygen(folder / "other")
    agent.add(str(folder / "other"))
    agent.add(str(folder / "id"))
    signature = await ssh_agent.sign(public, DATA, agent=str(agent.socket))
    assert public.signed(DATA, signature)
    private = load_ssh_private_key(await asyncio.to_thread((folder / "id").read_bytes), password=None)
    assert isinstance(private, Ed25519PrivateKey)
    assert signature == private.sign(DATA), "Ed25519 is deterministic: it is the key file's own signature"


async def test_no_agent_an_empty_one_and_one_with_other_keys(agent: Agent, folder: Path) -> None:
    public = PublicKey.load(keygen(folder / "id"))
    assert "no ssh-agent answers at" in await why(public, folder / "nowhere")
    assert "none is loaded" in await why(public, agent)
    keygen(folder / "other")
    keygen(folder / "rsa", "rsa")
    agent.add(str(folder / "other"))
    agent.add(str(folder / "rsa"))
    message = await why(public, agent)
    assert "holds 2 keys (ssh-ed25519, ssh-rsa)" in message
    assert "ssh-add FILE" in message


async def test_a_locked_agent_says_so(agent: Agent, folder: Path) -> None:
    public = PublicKey.load(keygen(folder / "id"))
    agent.add(str(folder / "id"))
    agent.lock(folder)
    assert "it is locked" in await why(public, agent)


async def test_a_key_that_nobody_confirms_signs_nothing(agent: Agent, folder: Path) -> None:
    public = PublicKey.load(keygen(folder / "id"))
    # The agent has nobody to ask here, which counts as no.
    agent.add("-c", str(folder / "id"))
    assert "does not sign with it" in await why(public, agent, Refused)


async def test_whatever_else_listens_there_is_no_agent(folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(b"HTTP/1.1 400\r\n\r\n")
        writer.close()

    public = SigningKey.generate(folder / "key").public
    async with await asyncio.start_unix_server(answer, str(folder / "liar")) as server:
        await server.start_serving()
        assert "is no ssh-agent" in await why(public, folder / "liar")


async def test_an_agent_that_says_nothing_is_not_waited_for_forever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_agent, "PATIENCE", 0.2)
    over = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    public = SigningKey.generate(folder / "key").public
    async with await asyncio.start_unix_server(silent, str(folder / "silent")) as server:
        await server.start_serving()
        assert "did not answer within" in await why(public, folder / "silent", Transient)
        over.set()


def test_public_keys_in_openssh_form(folder: Path) -> None:
    require_openssh()
    public = keygen(folder / "id")
    assert PublicKey.load(public) == PublicKey.from_openssh(told(folder / "id"))
    rsa = keygen(folder / "rsa", "rsa")
    with pytest.raises(Misconfigured, match="ssh-rsa"):
        PublicKey.load(rsa)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t x", "hardware key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA x", "certificate"),
        ("ecdsa-sha2-nistp256 AAAA x", "ssh-keygen -t ed25519"),
        ("ssh-ed25519 AAAA x", "no public key in OpenSSH's form"),
        ("ssh-ed25519", "no public key in OpenSSH's form"),
    ],
)
def test_what_cannot_be_enrolled_says_why(line: str, said: str, folder: Path) -> None:
    (folder / "key.pub").write_text(line, encoding="utf-8")
    with pytest.raises(Misconfigured, match=said) as caught:
        PublicKey.load(folder / "key.pub")
    assert caught.value.file == str(folder / "key.pub")
