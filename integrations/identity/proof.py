"""Whether a token is worthless: what its provider says, and what whoever has it meets, a refresh included."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import httpx

from integrations import bounded
from integrations.hostile import printable
from integrations.http import Answer as Response
from integrations.identity.client import Api, Credentials, error_of
from integrations.identity.tokens import Held
from integrations.protocol.client import McpEndpoint
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.text.sentences import say

_NOBODY: Final = say("nobody")


class Asked(NamedTuple):
    """What was found of a token.

    Args:
        decides: what says whether it is worthless.
        beside: what people have to know, and decides nothing.
    """

    decides: tuple[Finding, ...]
    beside: tuple[Finding, ...] = ()


def verdict(asked: Iterable[Asked], decides: Iterable[Finding] = (), beside: Iterable[Finding] = ()) -> Verdict:
    """Return what it all adds up to.

    Args:
        asked: of tokens.
        decides: what else does.
        beside: what else people have to know.
    """
    asked = tuple(asked)
    found = Verdict.of((*decides, *(finding for one in asked for finding in one.decides)))
    more = (*(finding for one in asked for finding in one.beside), *beside)
    return found.model_copy(update={"findings": (*found.findings, *more)})


async def dead(one: Held, api: Api, *, seen: bool) -> Asked:
    """Ask whether a token is worthless, in every way that there is.

    Args:
        one: the token.
        api: its provider.
        seen: whether the provider ever said that it was in use.
    """
    said, active = await _introspected(one, api, seen=seen)
    if one.type == "refresh_token":
        # While the provider says that it is in use, trying it would only make another one.
        tried = [] if active else await _refreshed(one, api)
        beside: list[Finding] = []
    else:
        info, beside = await _at_userinfo(one, api)
        spoken = Answer.ESTABLISHED in {said.answer, *(finding.answer for finding in info)}
        tried = [*info, *await _at_resource(one, spoken=spoken)]
    if said.answer is Answer.UNKNOWN and active is False and any(f.answer is Answer.ESTABLISHED for f in tried):
        # The token itself was turned away: that nobody ever heard of it being in use is no doubt then.
        return Asked(tuple(tried), tuple(beside))
    return Asked((said, *tried), tuple(beside))


def reissue(tokens: Sequence[Held]) -> Iterator[Finding]:
    """Yield whom else a token may be issued to, where that is asked of nobody: people have to know."""
    cut = {(one.who, one.provider) for one in tokens if one.type == "refresh_token"}
    for one in tokens:
        if one.type == "refresh_token" and one.at.client is None:
            field = f"principals.{one.who}.places.{one.provider}.client"
            yield _finding(
                "refresh",
                one,
                asked_as=_NOBODY,
                expected=say("the provider issues nothing for it"),
                observed=say("not tried: which client it was issued to is not known; name it in {a}", a=field),
                answer=Answer.UNKNOWN,
            )
        if one.type == "access_token" and (one.who, one.provider) not in cut:
            yield _finding(
                "reissue",
                one,
                asked_as=_NOBODY,
                expected=say("no other is issued in its place"),
                observed=say(
                    "not asked: no refresh token was revoked with it, and a client may have a secret of its own"
                ),
                answer=Answer.UNKNOWN,
                remedy=say("have the client, or the user, disabled at the provider"),
            )


async def _introspected(one: Held, api: Api, *, seen: bool) -> tuple[Finding, bool | None]:
    """Ask the provider; return also whether it says that the token is in use, None where it does not say."""
    asked_as, expected = f"administrator {api.settings.client}", say("introspection says that it is not active")
    try:
        claims = await api.introspect(one.value)
    except SoarError as exc:
        return _finding("introspection", one, asked_as, expected, str(exc), Answer.UNKNOWN), None
    if claims is not None:
        observed, answer = say("the provider says that it is active"), Answer.NOT_ESTABLISHED
    elif not seen:
        observed = say("it is not active, and was not when this was planned: whoever may not ask is told the same")
        answer = Answer.UNKNOWN
    else:
        observed, answer = say("it is not active any more"), Answer.ESTABLISHED
    return _finding("introspection", one, asked_as, expected, observed, answer), claims is not None


async def _at_userinfo(one: Held, api: Api) -> tuple[list[Finding], list[Finding]]:
    """Ask with an access token who is signed in; nothing where the provider is not asked that.

    That it lacks a scope is said of a revoked one too, and decides nothing: some look at the scope first.
    """
    expected = say("the provider turns it away as invalid")
    try:
        if await api.has("userinfo_endpoint") is None:
            return [], []
        answer = await api.userinfo(one.value)
    except SoarError as exc:
        return [_finding("userinfo", one, one.who, expected, str(exc), Answer.UNKNOWN)], []
    found = _finding("userinfo", one, one.who, expected, _said(answer), _turned_away(answer))
    return ([], [found]) if error_of(answer) == "insufficient_scope" else ([found], [])


def _turned_away(answer: Response) -> Answer:
    """Return what an answer to an access token says of it (RFC 6750, 3.1)."""
    if answer.status == httpx.codes.UNAUTHORIZED and error_of(answer) == "invalid_token":
        return Answer.ESTABLISHED
    return Answer.NOT_ESTABLISHED if answer.success else Answer.UNKNOWN


async def _at_resource(one: Held, *, spoken: bool) -> list[Finding]:
    """Ask where the principal's access tokens are used; nothing where nobody says where that is.

    Args:
        one: the token.
        spoken: whether its provider says that it is dead. That server may be who is under suspicion, or out of order:
            that it turns the token away is no proof by itself.
    """
    if one.at.resource is None:
        return []
    expected = say("the server turns it away")
    endpoint = McpEndpoint(one.target.name, one.at.resource, principal=one.who, token=one.value)
    try:
        reply = await endpoint.ask("tools/list")
    except SoarError as exc:
        return [_finding("resource", one, one.who, expected, str(exc), Answer.UNKNOWN)]
    finally:
        await endpoint.aclose()
    observed = reply.said.replace(one.value, "")
    if reply.status == httpx.codes.UNAUTHORIZED and not spoken:
        observed = say("it is turned away, and nothing that its provider says bears that out")
        answer = Answer.UNKNOWN
    elif reply.status == httpx.codes.UNAUTHORIZED:
        answer = Answer.ESTABLISHED
    elif reply.result is not None or reply.error is not None:
        # That it wants a session first, it says to whom it lets in.
        answer = Answer.NOT_ESTABLISHED
    else:
        answer = Answer.UNKNOWN
    return [_finding("resource", one, one.who, expected, observed, answer)]


async def _refreshed(one: Held, api: Api) -> list[Finding]:
    """Try a refresh token, as the client that it was issued to; what it is given nevertheless is revoked at once."""
    expected = say("the provider issues nothing for it")
    try:
        client = one.client()
        if client is None:
            return []
        answer, error = await api.refresh(one.value, client)
        if not answer.success:
            # Any other error is about who asks, or how, and says nothing of the token.
            gone = Answer.ESTABLISHED if error == "invalid_grant" else Answer.UNKNOWN
            return [_finding("refresh", one, one.who, expected, _said(answer), gone)]
        observed = await _took_back(answer, client, api)
    except SoarError as exc:
        return [_finding("refresh", one, one.who, expected, str(exc), Answer.UNKNOWN)]
    return [_finding("refresh", one, one.who, expected, observed, Answer.NOT_ESTABLISHED)]


async def _took_back(answer: Response, client: Credentials, api: Api) -> str:
    """Revoke what a token was refreshed to, so that there is no more of it than before; say what came of that."""
    found = bounded.parsed(answer.raw, f"provider {api.name}: refresh")
    issued = [found.get(name) for name in ("refresh_token", "access_token")] if isinstance(found, dict) else []
    by = client if client.secret else api.ourselves
    for token, hint in zip(issued, ("refresh_token", "access_token"), strict=False):
        if isinstance(token, str) and token:
            try:
                await api.revoke(token, hint, by)
            except SoarError as exc:
                return say("it works: another token was issued for it, and could not be revoked: {a}", a=str(exc))
    return say("it works: another token was issued for it, and revoked at once")


def _said(answer: Response) -> str:
    error = error_of(answer)
    return say("HTTP {a}: {b}", a=answer.status, b=printable(error)) if error else say("HTTP {a}", a=answer.status)


def _finding(  # noqa: PLR0917  # as a row
    check: str, one: Held, asked_as: str, expected: str, observed: str, answer: Answer, remedy: str = ""
) -> Finding:
    return Finding(
        check=check,
        subject=f"{one.words} {one.target.name} ({one.target.id})",
        asked_as=asked_as,
        expected=expected,
        observed=observed[:20_000],
        answer=answer,
        remedy=remedy,
    )
