"""The receiver as `up` runs it: a configuration folder, a listening socket, a real journal."""

import asyncio
import http
import ipaddress
import secrets
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from flows.engine.intake import intake
from flows.service.access import open_inbox, open_journal
from flows.service.assembly import assembled
from flows.service.part_receiver import prepare, receive
from flows.service.settings import Configuration, read
from integrations.journal import Journal
from integrations.journal.client import address
from integrations.journal.spool import END
from integrations.journal.stamp import INSTALLATION, Stamp
from integrations.siem.source import read_keys, signed
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.record.journal import Event
from playbooks.strict import now
from tests.flows.cli.world import Installation
from tests.flows.test_up import configuration
from tests.lab.accounts import account
from tests.lab.house import alert
from tests.lab.postgres import PostgresServer

TOKEN = secrets.token_urlsafe(32)
JSON = {"content-type": "application/json"}


@asynccontextmanager
async def serving(folder: Path, **client: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401  # of httpx's client
    """Run the receiver of a configuration folder, and give what talks to it."""
    stop = asyncio.Event()
    prepared = await asyncio.to_thread(prepare, folder)
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        running = asyncio.create_task(receive(prepared, entrance.fileno(), stop))
        scheme = "https" if "verify" in client else "http"
        base = f"{scheme}://127.0.0.1:{entrance.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30, **client) as http_client:
                yield http_client
        finally:
            stop.set()
            await running


def proof(config: Configuration, nonce: str, body: bytes) -> dict[str, str]:
    """Return the headers with which the source `siem` signs."""
    key = read_keys("siem", config.sources.sources["siem"])[0]
    return {**JSON, **signed(key, nonce, now(), body)}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a certificate for 127.0.0.1, `tls.pem`, and its key, `tls.key`."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").touch(mode=0o600)
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


async def test_over_tls_a_token_is_authentic_and_in_the_clear_nobody_is_answered(
    tmp_path: Path, certificate: Path
) -> None:
    tls = {"port": 0, "certificate": str(certificate / "tls.pem"), "key": str(certificate / "tls.key")}
    folder = configuration(tmp_path / "config", receiver=tls)
    (folder / "keys" / "token").write_text(TOKEN)
    bearer = {"bearer": {"secrets": [{"file": "keys/token"}]}}
    scanner = {"format": "generic", "authentication": bearer, "confidence": "high"}
    (folder / "sources.yaml").write_text(yaml.safe_dump({"version": 1, "sources": {"scanner": scanner}}))
    async with await open_journal(read(folder), name="r1", writing=True) as journal:
        trusting = ssl.create_default_context(cafile=certificate / "tls.pem")
        async with serving(folder, verify=trusting) as client:
            headers = {**JSON, "authorization": f"Bearer {TOKEN}"}
            accepted = await client.post("/v1/alerts/scanner", content=alert("weather"), headers=headers)
            assert accepted.status_code == http.HTTPStatus.ACCEPTED
            wrong = await client.post(
                "/v1/alerts/scanner", content=alert("weather"), headers={**headers, "authorization": "Bearer x"}
            )
            assert wrong.status_code == http.HTTPStatus.UNAUTHORIZED
            clear = str(client.base_url).replace("https", "http")
            async with httpx.AsyncClient(base_url=clear, trust_env=False) as plain:
                with pytest.raises(httpx.TransportError):
                    await plain.post("/v1/alerts/scanner", content=alert("weather"), headers=headers)
        (waits,) = await journal.waiting(9)
        assert waits.source == "scanner"


def named(folder: Path, url: str) -> dict[str, Any]:
    """Return the settings of a journal at an address, its password in a file."""
    password = folder / "journal-password"
    password.touch(mode=0o600)
    password.write_text(make_url(url).password or "")
    bare = make_url(url)._replace(password=None, drivername="postgresql").render_as_string()
    return {"url": bare, "password": {"file": str(password)}}


async def test_while_the_database_is_away_alerts_are_asked_for_again_and_then_taken(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    folder = configuration(tmp_path / "config", journal=named(tmp_path, postgres_url))
    config, body = read(folder), alert("weather")
    async with await open_journal(config, name="r1", writing=True) as journal:
        async with serving(folder) as client:
            assert (await client.get("/readyz")).status_code == http.HTTPStatus.OK
            await asyncio.to_thread(postgres.stop)
            try:
                away = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
                assert away.status_code == http.HTTPStatus.SERVICE_UNAVAILABLE
                assert int(away.headers["retry-after"]) > 0
                assert (await client.get("/readyz")).status_code == http.HTTPStatus.SERVICE_UNAVAILABLE
                assert (await client.get("/healthz")).status_code == http.HTTPStatus.OK
            finally:
                await asyncio.to_thread(postgres.start)
            again = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
            assert again.status_code == http.HTTPStatus.ACCEPTED
            assert (await client.get("/readyz")).status_code == http.HTTPStatus.OK
        (waits,) = await journal.waiting(9)
        assert (waits.nonce, waits.body) == ("one", body)


async def test_while_somebody_keeps_the_journal_locked_alerts_are_taken_all_the_same(tmp_path: Path) -> None:
    folder = configuration(tmp_path / "config")
    config, body = read(folder), alert("weather")
    async with await open_journal(config, name="r1", writing=True) as journal, serving(folder) as client:
        hung = sqlite3.connect(config.journal_url.partition(":///")[2], isolation_level=None)
        hung.execute("BEGIN IMMEDIATE")
        assert (await client.get("/readyz")).status_code == http.HTTPStatus.OK
        taken = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
        assert taken.status_code == http.HTTPStatus.ACCEPTED
        again = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
        assert again.status_code == http.HTTPStatus.OK
        hung.close()
        (waits,) = await journal.waiting(9)
        assert waits.nonce == "one"


async def test_while_somebody_keeps_the_inbox_locked_it_is_not_ready_and_alerts_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.service.receiver._READY_WITHIN", 0.5)
    monkeypatch.setattr("integrations.journal.client.LOCK_SECONDS", 1)
    folder = configuration(tmp_path / "config")
    config, body = read(folder), alert("weather")
    async with await open_journal(config, name="r1", writing=True) as journal, serving(folder) as client:
        hung = sqlite3.connect(config.journal_url.partition(":///")[2] + END, isolation_level=None)
        hung.execute("BEGIN IMMEDIATE")
        # Whose it is, `doctor` asks, whatever it answers.
        own = Stamp.load(config.path(config.settings.receiver.stamp)).installation
        unfit = await client.get("/readyz")
        assert (unfit.status_code, unfit.headers[INSTALLATION]) == (http.HTTPStatus.SERVICE_UNAVAILABLE, own)
        away = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
        assert away.status_code == http.HTTPStatus.SERVICE_UNAVAILABLE
        hung.close()
        again = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
        assert again.status_code == http.HTTPStatus.ACCEPTED
        fit = await client.get("/readyz")
        assert (fit.status_code, fit.headers[INSTALLATION]) == (http.HTTPStatus.OK, own)
        (waits,) = await journal.waiting(9)
        assert waits.nonce == "one"


# Its own account at PostgreSQL


@pytest.fixture
async def role(postgres_url: str) -> AsyncIterator[str]:
    """Give a role that nobody gave any right, whose password is its name."""
    async with account(postgres_url, "receiver") as made:
        yield made.name


@pytest.fixture
def with_account(tmp_path: Path, postgres_url: str, role: str) -> Path:
    """Give a configuration whose receiver has an account of its own."""
    (tmp_path / "account").write_text(role)
    account = {"user": role, "password": {"file": str(tmp_path / "account")}}
    settings = {"journal": named(tmp_path, postgres_url), "receiver": {"port": 0, "account": account}}
    return configuration(tmp_path / "config", **settings)


async def test_under_its_own_account_an_alert_becomes_an_incident_and_nothing_else_can_be_written(
    with_account: Path, role: str
) -> None:
    config, body = read(with_account), alert("weather")
    # Started again, or by a second responder: the rights are given anew.
    for _ in range(2):
        async with assembled(config) as parts, serving(with_account) as client:
            answer = await client.post("/v1/alerts/siem", content=body, headers=proof(config, "one", body))
            assert answer.is_success
            await intake(parts)
            (row,) = await parts.journal.streams("incident/")
            assert row.seq
    url = make_url(config.journal_url).set(username=role, password=role).render_as_string(hide_password=False)
    key = SigningKey.load(with_account / "keys" / "responder.key")
    async with await Journal.open(url, signer=key, name="taken over") as journal:
        for attempt in (journal.append("a", [Event("forged", {})]), journal.read("system"), journal.waiting(9)):
            with pytest.raises((Misconfigured, Refused)):
                await attempt
    async with await open_inbox(config, name="receiver") as journal:
        assert await journal.ready()


async def account_in_doctor(folder: Path) -> tuple[str, str]:
    """Return what `doctor` says of the receiver's account: level and message."""
    checks = (await asyncio.to_thread(Installation(folder, folder.parent / "home").json, "doctor", code=1))["checks"]
    (found,) = [check for check in checks if check["check"] == "receiver's account"]
    return found["level"], found["message"]


async def test_doctor_warns_of_a_receiver_that_could_write_the_journal(
    with_account: Path, postgres_url: str, role: str
) -> None:
    config = read(with_account)
    async with await open_journal(config, name="r1", writing=True):
        pass
    assert await account_in_doctor(with_account) == ("ok", f"{role} cannot write the journal")
    engine = create_async_engine(address(postgres_url))
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f'GRANT UPDATE (data) ON entry TO "{role}"')
    await engine.dispose()
    level, message = await account_in_doctor(with_account)
    assert (level, "may write entries" in message) == ("warn", True)
    file = with_account / "mcp-soar.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "receiver": {"port": 0}}))
    level, message = await account_in_doctor(with_account)
    assert (level, "has the responder's account" in message) == ("warn", True)


async def test_an_account_that_is_not_there_or_is_the_responders_own_is_named(
    with_account: Path, postgres_url: str
) -> None:
    file = with_account / "mcp-soar.yaml"
    for user, words in (("nobody_here", "nobody_here"), (make_url(postgres_url).username, "own account")):
        settings = yaml.safe_load(file.read_text())
        settings["receiver"]["account"]["user"] = user
        file.write_text(yaml.safe_dump(settings))
        with pytest.raises(Misconfigured, match=words):
            await open_journal(read(with_account), name="r1", writing=True)
