"""The receiver as `up` runs it: a configuration folder, a listening socket, a real journal."""

import asyncio
import http
import ipaddress
import secrets
import socket
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

from flows.assembly import open_journal
from flows.part_receiver import receive
from flows.settings import Configuration, read
from integrations.siem.source import read_keys, signed
from playbooks.strict import now
from tests.flows.test_up import configuration
from tests.lab.house import alert
from tests.lab.postgres import PostgresServer

TOKEN = secrets.token_urlsafe(32)
JSON = {"content-type": "application/json"}


@asynccontextmanager
async def serving(folder: Path, **client: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401  # of httpx's client
    """Run the receiver of a configuration folder, and give what talks to it."""
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        running = asyncio.create_task(receive(folder, entrance.fileno(), stop))
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
