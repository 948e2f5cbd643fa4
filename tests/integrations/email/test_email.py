"""E-mail against a real server: what arrives, what cannot be put into it, and what its answers mean."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.channels.email.channel import EmailChannel
from integrations.channels.email.client import MailServer
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.people.contacts import Contact, Email
from playbooks.people.message import Message
from tests.lab.examples import examples
from tests.lab.mail import PASSWORD, USER, Post, post_office, self_made

WRONG = "hunter2"
KIM = Contact(email="kim@example.com")


def message(**more: Any) -> Message:  # noqa: ANN401  # fields of a message
    return Message(
        **{
            "incident": "inc-2026-000001",
            "page": "opened",
            "notice": "opened",
            "urgent": False,
            "subject": "사고 접수",
            "text": "본문\n.\nRCPT TO:<mallory@example.com>\n",
            "html": "<p>본문</p>",
            **more,
        }
    )


def channel(post: Post, *, password: str | None = None, patience: float = 30.0, **config: Any) -> EmailChannel:  # noqa: ANN401  # fields of Email
    fields = {"host": "127.0.0.1", "port": post.port, "security": "none", "sender": "soar@example.com", **config}
    return EmailChannel(MailServer(Email.model_validate(fields), password, patience=patience))


async def test_a_message_arrives_as_text_and_html() -> None:
    async with post_office() as post:
        sent = await channel(post).send(KIM, message(urgent=True))
    (got,) = post.taken
    text, html = (part.get_content().replace("\r\n", "\n") for part in got.iter_parts())
    assert got.get_content_type() == "multipart/alternative"
    # A dot on a line of its own ends a message; this one did not.
    assert (text, html) == ("본문\n.\nRCPT TO:<mallory@example.com>\n", "<p>본문</p>\n")
    assert (got["Subject"], got["To"], got["From"]) == ("사고 접수", "kim@example.com", "soar@example.com")
    assert (got["Auto-Submitted"], got["Importance"]) == ("auto-generated", "high")
    assert post.recipients == [["kim@example.com"]]
    assert sent.where == "email kim@example.com"
    assert sent.reference == got["Message-ID"]


async def test_the_messages_of_an_incident_are_one_thread() -> None:
    async with post_office() as post:
        ours = channel(post)
        first = await ours.send(KIM, message())
        second = await ours.send(KIM, message(page="contained:1"), thread=first.reference)
        other = await ours.send(KIM, message(incident="inc-2026-000002"))
    one, two, three = post.taken
    assert two["In-Reply-To"] == first.reference
    assert first.reference in two["References"]
    # Whoever was told late has nothing to answer to, and still the incident's anchor.
    anchor = one["References"].split()[0]
    assert anchor in two["References"]
    assert anchor not in three["References"]
    assert len({first.reference, second.reference, other.reference}) == 3


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(text=st.text(max_size=300), joined=st.sampled_from(["\r\n", "\n", "\r", "\x00", "\u2028", "\u0085", ""]))
def test_nothing_that_is_said_becomes_a_header(text: str, joined: str) -> None:
    said = f"{text}{joined}Bcc: mallory@example.com{joined}{joined}x"
    ours = EmailChannel(MailServer(Email(host="127.0.0.1", sender="soar@example.com"), None))
    # What is composed is what goes over the wire: `test_a_message_arrives_as_text_and_html` compares them.
    composed = ours._composed("kim@example.com", message(subject=said, incident=said, text=said), said)  # noqa: SLF001
    raw = composed.as_bytes()
    names = [line.split(b":")[0].lower() for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n") if line[:1] != b" "]
    assert sorted(names) == sorted(
        b"from to subject date message-id in-reply-to references auto-submitted mime-version content-type".split()
    )


@pytest.mark.parametrize(
    ("answers", "error", "code"),
    [
        ({"rcpt": "550 no such user"}, Refused, "550"),
        ({"rcpt": "451 greylisted"}, Transient, "451"),
        ({"data": "554 we do not like you"}, Refused, "554"),
        ({"data": "452 disk full"}, Transient, "452"),
    ],
)
async def test_a_refusal_is_for_good_or_for_now(answers: dict[str, str], error: type[Exception], code: str) -> None:
    async with post_office() as post:
        for name, answer in answers.items():
            setattr(post, name, answer)
        with pytest.raises(error, match=code):
            await channel(post).send(KIM, message())
    assert post.taken == []


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("greeting", "501 5.5.4 Invalid domain name"),
        ("rcpt", "504 5.5.2 <worker-1>: Helo command rejected: need fully-qualified hostname"),
    ],
)
async def test_a_server_that_refuses_our_name_is_told_of_as_that_and_takes_one_that_is_set(
    where: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "worker-1")
    async with post_office() as post:
        setattr(post, where, answer)
        with pytest.raises(Misconfigured, match=r"EHLO, worker-1: set one that is fully qualified") as caught:
            await channel(post).send(KIM, message())
        assert caught.value.field == "channels.email.ehlo"
        assert answer[:3] in str(caught.value)
        post.rcpt = "250 OK"
        await channel(post, ehlo="worker-1.example.com").send(KIM, message())
        await channel(post, ehlo="[192.0.2.7]").send(KIM, message())
    assert post.greeted[-2:] == ["worker-1.example.com", "[192.0.2.7]"]
    assert len(post.taken) == 2


async def test_what_a_server_says_moves_no_cursor() -> None:
    async with post_office() as post:
        post.rcpt = "550 \x1b[2Jno\x07"
        with pytest.raises(Refused) as caught:
            await channel(post).send(KIM, message())
    assert "\x1b" not in str(caught.value)


async def test_a_server_that_hangs_is_given_up() -> None:
    async with post_office() as post:
        post.hang = True
        with pytest.raises(Transient, match="does not answer"):
            await channel(post, patience=0.5).send(KIM, message())


async def test_a_server_that_is_not_there_may_come_back() -> None:
    async with post_office() as post:
        pass
    with pytest.raises(Transient, match="does not answer"):
        await channel(post).send(KIM, message())


async def test_starttls_with_a_certificate_that_we_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = self_made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    async with post_office(certificate=pem, sign_in=True) as post:
        ours = channel(post, security="starttls", user=USER, password=PASSWORD)
        await ours.send(KIM, message())
        assert "signed in as soar" in await ours.server.check()
        with pytest.raises(Misconfigured, match="does not let soar in") as caught:
            await channel(post, security="starttls", user=USER, password=WRONG).send(KIM, message())
        assert WRONG not in str(caught.value)
    assert post.secured == [True]


async def test_starttls_with_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    async with post_office(certificate=self_made(tmp_path), sign_in=True) as post:
        with pytest.raises(Misconfigured, match="certificate is not valid"):
            await channel(post, security="starttls", user=USER, password=PASSWORD).send(KIM, message())
    assert post.taken == []


async def test_starttls_with_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = self_made(tmp_path, name="192.0.2.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    async with post_office(certificate=pem) as post:
        with pytest.raises(Misconfigured, match="certificate is not valid"):
            await channel(post, security="starttls").send(KIM, message())
    assert post.taken == []


async def test_a_server_without_starttls_gets_nothing() -> None:
    async with post_office() as post:
        with pytest.raises(Misconfigured, match="STARTTLS"):
            await channel(post, security="starttls").send(KIM, message())
    assert post.taken == []


async def test_check_sends_nothing() -> None:
    async with post_office() as post:
        assert "answers in the clear" in await channel(post).server.check()
    assert post.taken == []


async def test_an_address_that_the_server_cannot_take_is_said() -> None:
    async with post_office() as post:
        # RFC 6531: only a server that offers SMTPUTF8 takes it.
        with pytest.raises(SoarError, match="SMTPUTF8"):
            await channel(post).send(Contact(email="é@example.com"), message())
    assert post.taken == []
