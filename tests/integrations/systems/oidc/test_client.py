"""A provider in other hands: what it describes, sends us to, or answers at length costs nothing and proves nothing."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote_plus

import pytest

from integrations.identity.client import LARGEST, Api, Credentials
from integrations.identity.provider import Provider
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.estate.systems import Secret
from tests.lab import http_served

TOKEN = "t" * 40
OURS = "s3cret:with/odd characters"
Answers = Callable[[http_served.Request], tuple[int, Any]]


def description(issuer: str, **more: object) -> dict[str, Any]:
    endpoints = {name: f"{issuer}/{name}" for name in ("introspection_endpoint", "revocation_endpoint")}
    return {"issuer": issuer, **endpoints, **more}


@asynccontextmanager
async def provider(
    answers: Answers,
    **settings: Any,  # noqa: ANN401  # fields
) -> AsyncIterator[tuple[Api, list[http_served.Request]]]:
    """Serve a provider that answers as it is told; yield our way to it, and what it was sent."""
    seen: list[http_served.Request] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await http_served.read(reader)
            seen.append(request)
            status, body = answers(request)
            extra = f"Location: {body}\r\n" if status in {301, 302, 307} else ""
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            await http_served.write(writer, status, raw, extra=extra)

    async with http_served.listening(converse) as url:
        issuer = f"{url}{settings.pop('path', '')}"
        given = {"kind": "oidc", "issuer": issuer, "client": "us", "secret": Secret(env="UNUSED"), **settings}
        api = Api("sso", Provider.model_validate(given), OURS)
        try:
            yield api, seen
        finally:
            await api.aclose()


def describing(made: Callable[[str], dict[str, Any]], *answers: tuple[int, Any]) -> Answers:
    """Return what describes itself so, and then answers in turn."""
    left = list(answers)

    def answer(request: http_served.Request) -> tuple[int, Any]:
        if "/.well-known/" in request.target:
            host = request.headers["host"]
            return 200, made(f"http://{host}")
        return left.pop(0)

    return answer


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"issuer": "http://127.0.0.1:1"}, "calls itself http"),
        ({"issuer": None}, "calls itself None"),
        ({"revocation_endpoint": "http://169.254.169.254/latest"}, "not the issuer's own"),
        ({"introspection_endpoint": "file:///etc/passwd"}, "not the issuer's own"),
        ({"introspection_endpoint": 7}, "not the issuer's own"),
        ({"introspection_endpoint": "http://[::1"}, "not the issuer's own"),
        ({"introspection_endpoint": "http://us:them@127.0.0.1/x"}, "not the issuer's own"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "takes no client's secret"),
        ({"token_endpoint_auth_methods_supported": "client_secret_basic"}, "takes no client's secret"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_our_secret_goes_only_where_the_inventory_says(more: dict[str, Any], says: str) -> None:
    answers = describing(lambda issuer: {**description(issuer), **more}, (200, {"active": False}))
    async with provider(answers) as (api, seen):
        with pytest.raises(Misconfigured, match=says):
            await api.introspect(TOKEN)
        assert len(seen) == 1, "nothing went anywhere but the question what it is"


async def test_an_endpoint_at_a_host_that_people_named_is_believed() -> None:
    def made(issuer: str) -> dict[str, Any]:
        return description(issuer, introspection_endpoint=f"{issuer.replace('127.0.0.1', 'localhost')}/there")

    async with provider(describing(made, (200, {"active": False})), hosts=("localhost",)) as (api, seen):
        assert await api.introspect(TOKEN) is None
        assert seen[-1].headers["host"].startswith("localhost:")


@pytest.mark.parametrize("status", [301, 302, 307])
@pytest.mark.parametrize("first", [True, False], ids=["description", "introspection"])
async def test_nothing_is_followed_elsewhere(*, first: bool, status: int) -> None:
    away = (status, "/elsewhere")
    answers = describing(description, away) if not first else lambda _: away
    async with provider(answers) as (api, seen):
        with pytest.raises(Refused, match="sends us elsewhere"):
            await api.introspect(TOKEN)
        assert not [request for request in seen if request.target == "/elsewhere"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"x" * (LARGEST + 1), Refused),
        (200, b"[" * 1000 + b"]" * 1000, Refused),
        (200, b"<html>", Transient),
        (200, b"\xff\xfe", Transient),
        (200, [], Refused),
        (200, {}, Refused),
        (200, {"active": "false"}, Refused),
        (200, {"active": 0}, Refused),
        (400, {"error": "unsupported_token_type"}, Refused),
        (401, {"error": "invalid_client"}, Misconfigured),
        (403, {}, Misconfigured),
        (429, {}, Transient),
        (500, b"", Transient),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_no_answer_is_an_error_of_its_kind(status: int, body: Any, kind: type[SoarError]) -> None:  # noqa: ANN401  # whatever comes
    async with provider(describing(description, (status, body))) as (api, _):
        with pytest.raises(kind):
            await api.introspect(TOKEN)


async def test_an_error_that_repeats_the_token_does_not_show_it() -> None:
    said = (400, {"error": "invalid_request", "error_description": f"what is {TOKEN}?"})
    async with provider(describing(description, said, said)) as (api, _):
        for asked in (api.introspect(TOKEN), api.revoke(TOKEN, "access_token", api.ourselves)):
            with pytest.raises(Refused) as caught:
                await asked
            assert TOKEN not in str(caught.value)
            assert "what is" in str(caught.value)


SPELLED = {
    "as it is": lambda text: text,
    "JSON, its slashes escaped": lambda text: text.replace("/", "\\/"),
    "JSON, each character by its number": lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    "JSON within JSON": lambda text: json.dumps(text.replace("/", "\\/"))[1:-1],
    "a form": quote_plus,
    "a form, in lower case": lambda text: "".join(f"%{ord(char):02x}" for char in text),
    "a form within a form": lambda text: quote_plus(quote_plus(text)),
    "HTML": lambda text: text.replace("/", "&#x2F;").replace("+", "&#43;"),
}


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED)
async def test_what_it_was_told_is_in_nothing_that_it_answers_however_it_spells_it(
    spelled: Callable[[str], str],
) -> None:
    token, told = "abc/def+ghi==/live/refresh/token", quote_plus(OURS)
    basic = base64.b64encode(f"us:{told}".encode()).decode()
    repeated = [spelled(one) for one in (token, OURS, basic)]
    body = f'{{"active":true,"scope":"read","x":"{" ".join(repeated)}"}}'.encode()
    by = Credentials("us", OURS, "x")
    described = {"userinfo_endpoint": "userinfo", "token_endpoint": "token"}

    def whole(issuer: str) -> dict[str, Any]:
        return description(issuer, **{name: f"{issuer}/{path}" for name, path in described.items()})

    answers = [(200, body), (400, body), (400, body), (400, body), (401, body)]
    async with provider(describing(whole, *answers)) as (api, _):
        claims, raw = await api.introspection(token)
        assert claims is not None
        assert (claims["scope"], json.loads(raw)) == ("read", claims)
        shown = [raw.decode(), str(claims)]
        for asked in (api.introspect(token), api.revoke(token, "access_token", api.ourselves)):
            with pytest.raises(Refused) as caught:
                await asked
            shown.append(str(caught.value))
        shown += [(await api.refresh(token, by))[0].text, (await api.userinfo(token)).text]
    assert "[redacted: token]" in shown[0]
    for text in shown[:-1]:
        assert not [one for one in (*repeated, token, OURS, basic) if one in text]
    assert not [one for one in (repeated[0], token) if one in shown[-1]], "userinfo was told the token alone"


async def test_a_refresh_token_that_is_issued_again_is_read_as_it_is() -> None:
    """It is what has to be revoked: some providers issue the same once more."""

    def whole(issuer: str) -> dict[str, Any]:
        return description(issuer, token_endpoint=f"{issuer}/token")

    async with provider(describing(whole, (200, {"refresh_token": TOKEN}))) as (api, _):
        answer, _ = await api.refresh(TOKEN, api.ourselves)
        assert json.loads(answer.raw) == {"refresh_token": TOKEN}


async def test_a_client_says_who_it_is_as_the_provider_takes_it() -> None:
    """RFC 6749, 2.3.1: encoded as a form before it is encoded as HTTP has it."""
    async with provider(describing(description, (200, {"active": False}))) as (api, seen):
        await api.introspect(TOKEN)
        assert seen[-1].headers["authorization"] == "Basic dXM6czNjcmV0JTNBd2l0aCUyRm9kZCtjaGFyYWN0ZXJz"
        assert seen[-1].body == f"token={TOKEN}".encode()

    def in_the_form(issuer: str) -> dict[str, Any]:
        return description(issuer, token_endpoint_auth_methods_supported=["client_secret_post"])

    async with provider(describing(in_the_form, (200, {}), (200, {}))) as (api, seen):
        await api.revoke(TOKEN, "access_token", api.ourselves)
        assert "authorization" not in seen[-1].headers
        assert seen[-1].body.endswith(b"client_id=us&client_secret=s3cret%3Awith%2Fodd+characters")
        await api.revoke(TOKEN, "access_token", Credentials("public", "", "x"))
        assert seen[-1].body.endswith(b"client_id=public")


async def test_a_server_that_describes_itself_by_rfc_8414_alone_is_found() -> None:
    def answers(request: http_served.Request) -> tuple[int, Any]:
        if request.target == "/.well-known/oauth-authorization-server/tenant":
            return 200, description(f"http://{request.headers['host']}/tenant")
        return (200, {"active": False}) if request.method == "POST" else (404, {})

    async with provider(answers, path="/tenant") as (api, seen):
        assert await api.introspect(TOKEN) is None
        assert [request.target for request in seen][:2] == [
            "/tenant/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/tenant",
        ]
        await api.described()
        assert len(seen) == 3, "a description is read once"


async def test_without_an_endpoint_it_says_that_people_do_it_there() -> None:
    def bare(issuer: str) -> dict[str, Any]:
        return {"issuer": issuer}

    async with provider(describing(bare)) as (api, _):
        with pytest.raises(Refused, match="has no introspection_endpoint"):
            await api.introspect(TOKEN)
