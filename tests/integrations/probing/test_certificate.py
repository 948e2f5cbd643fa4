"""TLS as it is really spoken: its oldest version, whose certificate, until when; a pin is trusted, and nothing else."""

import asyncio
import hashlib
import ssl
import warnings
from pathlib import Path

import pytest

from integrations.probing import certificate
from integrations.probing.certificate import oldest, pinned, transport
from integrations.probing.manners import stranger
from integrations.probing.stranger import Stranger
from playbooks.errors import Refused, SoarError, Transient
from playbooks.estate.probing import Probed
from playbooks.taxonomy import IncidentClass
from tests.integrations.probing.test_manners import good
from tests.lab import mail
from tests.lab.http_served import listening
from tests.lab.served import serving


def served_by(
    folder: Path, *, days: int = 100, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> tuple[ssl.SSLContext, str]:
    """Return a server's context with a certificate of its own, and the pin of that."""
    file = mail.self_made(folder, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = oldest
    pem = file.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    return context, f"sha256:{hashlib.sha256(der).hexdigest()}"


async def found(url: str, **agreed: object) -> set[tuple[str, str]]:
    probed = Probed.model_validate({"agreed": "Kim", **agreed})
    return {(one.what, one.observed) for ask in (transport, oldest) for one in await ask("lab", url, probed)}


async def test_a_pinned_certificate_gives_nothing_and_is_trusted_for_every_other_question(tmp_path: Path) -> None:
    context, pin = served_by(tmp_path)
    agreed = Probed(agreed="Kim", open=True, certificate=pin)
    async with serving(good, tls=context) as place:
        assert await found(place.url, certificate=pin) == set()
        async with Stranger("lab", place.url, await pinned(place.url, agreed)) as asking:
            assert await stranger("lab", agreed, asking) == []
        async with Stranger("lab", place.url) as asking:
            with pytest.raises(Transient):
                await stranger("lab", agreed, asking)


async def test_another_certificate_than_is_pinned_is_told_as_spoofing_and_nothing_more_is_asked(tmp_path: Path) -> None:
    context, pin = served_by(tmp_path)
    other = f"sha256:{'0' * 64}"
    async with serving(good, tls=context) as place:
        (one,) = await transport("lab", place.url, Probed(agreed="Kim", certificate=other))
        assert (one.what, one.observed) == ("certificate", f"another one: {pin}")
        assert one.incident_class is IncidentClass.SERVER_SPOOFING
        with pytest.raises(Refused, match="nothing more is asked"):
            await pinned(place.url, Probed(agreed="Kim", certificate=other))
        assert place.seen == []


@pytest.mark.parametrize(
    ("oldest", "tls", "named"),
    [
        (ssl.TLSVersion.TLSv1, "1.2", {"TLSv1.1"}),
        (ssl.TLSVersion.TLSv1_2, "1.2", set()),
        (ssl.TLSVersion.TLSv1_2, "1.3", {"TLSv1.2"}),
        (ssl.TLSVersion.TLSv1_3, "1.3", set()),
    ],
)
async def test_an_older_version_than_may_be_is_found(
    tmp_path: Path, oldest: ssl.TLSVersion, tls: str, named: set[str]
) -> None:
    context, pin = served_by(tmp_path, oldest=oldest)
    async with serving(good, tls=context) as place:
        wanted = {("TLS version", f"{version}, if a client asks for it") for version in named}
        assert await found(place.url, certificate=pin, tls=tls) == wanted


async def test_one_that_no_authority_vouches_for_and_one_that_ends_soon_are_found(tmp_path: Path) -> None:
    context, pin = served_by(tmp_path, days=3)
    async with serving(good, tls=context) as place:
        assert {what for what, _ in await found(place.url, certificate=pin)} == {"certificate's end"}
        assert {what for what, _ in await found(place.url)} == {"certificate", "certificate's end"}


async def test_clear_text_is_found_but_on_this_machine() -> None:
    assert await found("http://10.0.0.1:8000/mcp") == {("transport", "clear text")}
    assert await found("http://127.0.0.1:8000/mcp") == await found("http://localhost/mcp") == set()


async def test_what_speaks_no_tls_or_is_away_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.probing.certificate.PATIENCE", 0.3)
    async with serving(good) as place:
        url = place.url.replace("http:", "https:")
        with pytest.raises(SoarError, match=r"no TLS|no answer"):
            await found(url)
    with pytest.raises(Transient):
        await found(url)


async def test_who_has_gone_has_refused_no_old_version() -> None:
    async def breaks_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    agreed = Probed(agreed="Kim")
    async with listening(breaks_off) as address:
        url = address.replace("http:", "https:")
        with pytest.raises(SoarError, match=r"no answer|no TLS"):
            await oldest("lab", url, agreed)
    with pytest.raises(Transient, match="ConnectionRefusedError"):
        await oldest("lab", url, agreed)


async def test_what_our_own_openssl_does_not_offer_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "_CIPHERS", "ALL:@SECLEVEL=5")
    context, pin = served_by(tmp_path, oldest=ssl.TLSVersion.TLSv1)
    async with serving(good, tls=context) as place:
        with pytest.raises(Refused, match="cannot ask it for so old a version"):
            await oldest("lab", place.url, Probed(agreed="Kim", certificate=pin))
