"""Each part of `up` gets the secrets that it needs and no others."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from flows.service.assembly import secret_variables
from flows.service.settings import Configuration, read
from flows.service.up import _Group, _Places
from integrations.signing import SigningKey

GATEWAY = {
    "kind": "contextforge",
    "url": "http://127.0.0.1:9",
    "user": "soar@example.com",
    "password": {"env": "LAB_GATEWAY_PASSWORD"},
    "canary": {
        "principal": "canary@example.com",
        "token": {"env": "LAB_CANARY_TOKEN"},
        "url": "http://127.0.0.1:9/mcp/",
    },
}
FROM_A_FILE = {**GATEWAY, "password": {"file": "secrets/other"}}
SOURCES = {
    "siem": {"hmac": {"secrets": [{"env": "LAB_SIEM_NEW"}, {"env": "LAB_SIEM_OLD"}]}},
    "scanner": {"bearer": {"secrets": [{"env": "LAB_SCANNER"}, {"file": "secrets/scanner"}]}},
}
CHANNELS = {
    "slack": {"bot_token": {"env": "LAB_BOT"}, "app_token": {"env": "LAB_APP"}},
    "email": {"host": "mail.example.com", "sender": "a@example.com", "user": "a", "password": {"env": "LAB_MAIL"}},
    "webhooks": {"pager": {"url": "https://pager.example.com", "secret": {"env": "LAB_PAGER"}}},
}
TARGETS = {"LAB_GATEWAY_PASSWORD", "LAB_CANARY_TOKEN", "LAB_BOT", "LAB_APP", "LAB_MAIL", "LAB_PAGER"}
DOORS = {"LAB_SIEM_NEW", "LAB_SIEM_OLD", "LAB_SCANNER", "LAB_JOURNAL"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """A configuration whose secrets are in the environment, which holds them and one thing more."""
    (tmp_path / "keys").mkdir(mode=0o700)
    key = SigningKey.generate(tmp_path / "keys" / "responder.key")
    (tmp_path / "keys" / "responder.pub").write_bytes(key.public.pem)
    documents = {
        "mcp-soar.yaml": {
            "version": 1,
            "journal": {"url": "postgresql://soar@127.0.0.1/soar", "password": {"env": "LAB_JOURNAL"}},
        },
        "inventory.yaml": {"version": 1, "gateways": {"main": GATEWAY, "other": FROM_A_FILE}},
        "sources.yaml": {
            "version": 1,
            "sources": {
                name: {"format": "generic", "authentication": how, "confidence": "high"}
                for name, how in SOURCES.items()
            },
        },
        "people.yaml": {"version": 1},
        "contacts.yaml": {"channels": CHANNELS},
    }
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    for name in TARGETS | DOORS:
        monkeypatch.setenv(name, f"the secret of {name}")
    monkeypatch.setenv("LAB_HARMLESS", "anything")
    return read(tmp_path)


def test_the_variables_that_hold_secrets_are_known_by_what_they_open(config: Configuration) -> None:
    assert secret_variables(config) == (TARGETS, DOORS)


def test_with_an_account_of_its_own_the_receiver_lacks_the_responders_too(config: Configuration) -> None:
    file = config.folder / "mcp-soar.yaml"
    account = {"user": "soar_receiver", "password": {"env": "LAB_ACCOUNT"}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "receiver": {"account": account}}), encoding="utf-8")
    doors = (DOORS - {"LAB_JOURNAL"}) | {"LAB_ACCOUNT"}
    assert secret_variables(read(config.folder)) == (TARGETS | {"LAB_JOURNAL"}, doors)


async def test_the_receiver_lacks_the_gateways_and_prefect_lacks_them_all(
    config: Configuration, tmp_path: Path
) -> None:
    (tmp_path / "state" / "logs").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as entrance, socket.create_server(("127.0.0.1", 0)) as own:
        places = _Places(tmp_path / "state", tmp_path / "state" / "logs", entrance, own)
        stop = asyncio.Event()
        stop.set()
        group = _Group(config, lambda _: None, stop, places)
        # What its parts are started with has no public name.
        assert group._prefect is not None  # noqa: SLF001
        assert group._receiver is not None  # noqa: SLF001
        await group._stopping  # noqa: SLF001
        responder, receiver, prefect = (
            part.environment
            for part in (group._responder, group._receiver, group._prefect)  # noqa: SLF001
        )
    assert set(responder) >= (TARGETS | DOORS)
    assert set(receiver) & (TARGETS | DOORS) == DOORS
    assert set(prefect) & (TARGETS | DOORS) == set()
    for environment in (receiver, prefect):
        assert not any(f"the secret of {name}" in value for name in TARGETS for value in environment.values())
    assert all(environment["LAB_HARMLESS"] == "anything" for environment in (responder, receiver, prefect))
