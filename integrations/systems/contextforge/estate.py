"""Everything that a gateway has, read once for an inventory: page by page, and within limits whatever it answers.

What it says is somebody else's choice: an entry without a usable id is left out and said to be, a page that brings
nothing new is the last one, and a list that does not end is said to be partial. Nothing here raises but for the first
question: whether the gateway lets us in.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

from integrations.estate import Entry, Estate, Token, User
from integrations.gateways.driver import ID
from integrations.hostile import hidden, own_name, printable
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import Held
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind

T = TypeVar("T")

PAGE: Final = 200
"""Entries asked for at once: with their schemas they have to fit into one answer."""

MOST: Final = 20_000
"""Entries of one list."""

WITHIN: Final = 120.0
"""Seconds for one list."""

_KINDS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}
# What stands in the path of a request later.
_EMAIL: Final = re.compile(r"[0-9A-Za-z!$&'*+=^_{|}~.-]{1,100}@[0-9A-Za-z.-]{1,99}")
_URL: Final = re.compile(r"https?://[^\s@\"\\]{1,1900}")


class _List(NamedTuple):
    """A list: its address, where an answer holds its entries, what is asked for, and what tells them apart."""

    path: str
    holder: str
    params: Mapping[str, str]
    key: str = "id"


_INACTIVE: Final = {"include_inactive": "true"}


async def survey(forge: ContextForge) -> Estate:
    """Return everything that a gateway has.

    Raises:
        SoarError: it does not answer, or does not let us in.
    """
    await forge.api.request("GET", "/v1/auth/email/me")
    estate = Estate()
    lists = {kind: _List(f"/v1/{name}", name, _INACTIVE) for kind, name in _KINDS.items()}
    entries, users, tokens, kinds = await asyncio.gather(
        _read(estate, forge, "servers", _List("/v1/gateways", "gateways", _INACTIVE), _entry),
        _read(estate, forge, "users", _List("/v1/auth/email/admin/users", "users", {}, "email"), _user),
        _tokens(estate, forge),
        asyncio.gather(*(_read(estate, forge, _KINDS[kind], one, _held(kind, forge)) for kind, one in lists.items())),
    )
    estate.entries, estate.users, estate.tokens = tuple(entries), tuple(users), tuple(tokens)
    known = {entry.id for entry in entries}
    grouped: dict[str, list[Held]] = {entry: [] for entry in known}
    for held in (held for kind in kinds for held in kind):
        if held.entry in known:
            grouped[held.entry].append(held)
        else:
            estate.strays += 1
    estate.objects = {entry: tuple(some) for entry, some in grouped.items()}
    return estate


async def _read(
    estate: Estate, forge: ContextForge, what: str, listed: "_List", made: Callable[[dict[str, Any]], T | str]
) -> list[T]:
    """Read a list to its end or its limit; `made` returns the thing, or why it cannot be one."""
    found: dict[str, T] = {}
    odd: dict[str, int] = {}
    try:
        async with asyncio.timeout(WITHIN):
            async for item in _pages(forge, listed):
                one = made(item)
                if isinstance(one, str):
                    odd[one] = odd.get(one, 0) + 1
                else:
                    found.setdefault(str(item[listed.key]), one)
    except TimeoutError:
        estate.partial.append(f"{what}: {len(found)} read, then {WITHIN:g} s were over")
    except SoarError as exc:
        estate.partial.append(f"{what}: {len(found)} read, then: {exc}")
    estate.left_out += [f"{count} {what}: {why}" for why, count in odd.items()]
    return list(found.values())


async def _pages(forge: ContextForge, listed: "_List") -> AsyncIterator[dict[str, Any]]:
    """Yield the entries of a list, each page asked for by the cursor that the one before gave."""
    seen: set[str] = set()
    path, asked = listed.path, {**listed.params, "limit": str(PAGE), "include_pagination": "true"}
    while True:
        answer = await forge.api.request("GET", path, params=asked)
        page = answer.get(listed.holder) if isinstance(answer, dict) else answer
        entries = forge.api.entries(path, page)
        before = len(seen)
        for item in entries:
            seen.add(repr(item.get(listed.key))[:400])
            yield item
        cursor = (answer.get("nextCursor") or answer.get("next_cursor")) if isinstance(answer, dict) else None
        # Its own word that there is more is not believed where a page brought nothing new.
        if not isinstance(cursor, str) or not cursor or len(seen) == before:
            return
        if len(seen) >= MOST:
            raise _Endless(f"there are more than {MOST}")
        asked["cursor"] = cursor[:2000]


class _Endless(SoarError):
    """A list goes on beyond what anybody has."""


def _entry(item: dict[str, Any]) -> Entry | str:
    id_, name, url = item.get("id"), item.get("name"), item.get("url")
    if not isinstance(id_, str) or not ID.fullmatch(id_):
        return "their ids are none"
    usable = isinstance(url, str) and _URL.fullmatch(url) is not None and not any(hidden(one) for one in url)
    kind = item.get("authType")
    return Entry(
        id=id_,
        name=printable(name) if isinstance(name, str) and name.strip() else "(nameless)",
        url=str(url) if usable else None,
        enabled=item.get("enabled") is not False,
        credentials=printable(kind, 40) if isinstance(kind, str) else "",
    )


def _user(item: dict[str, Any]) -> User | str:
    email, name = item.get("email"), item.get("full_name")
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        return "their e-mail addresses are none that can be asked about"
    return User(
        email=email,
        name=printable(name.strip()) if isinstance(name, str) else "",
        administrator=item.get("is_admin") is True,
        active=item.get("is_active") is not False,
    )


def _held(kind: PinKind, forge: ContextForge) -> Callable[[dict[str, Any]], Held | str]:
    def made(item: dict[str, Any]) -> Held | str:
        try:
            held = forge.held_of(kind, item)
        except SoarError:
            return "they lack what every one has"
        named = isinstance(item["id"], str) and ID.fullmatch(held.id) and held.names.original
        if not named or not isinstance(held.entry, str | None):
            return "their ids or names are none"
        return held

    return made


async def _tokens(estate: Estate, forge: ContextForge) -> list[Token]:
    try:
        async with asyncio.timeout(WITHIN):
            listed = await forge.tokens()
    except TimeoutError:
        estate.partial.append(f"tokens: none read within {WITHIN:g} s")
        return []
    except SoarError as exc:
        estate.partial.append(f"tokens: none read: {exc}")
        return []
    found, odd = [], 0
    for item in listed:
        id_, name, user = item.get("id"), item.get("name"), item.get("user_email")
        if not isinstance(id_, str) or not ID.fullmatch(id_) or not isinstance(user, str):
            odd += 1
            continue
        ends = moment_of(item.get("expires_at"))
        over = ends is not None and ends < datetime.now(UTC)
        if item.get("is_revoked") is True or item.get("is_active") is False or over:
            continue
        found.append(Token(id_, own_name(name) if isinstance(name, str) and name else id_, user, ends))
    estate.left_out += [f"{odd} tokens: their ids are none"] if odd else []
    return found


def moment_of(value: object) -> datetime | None:
    """Return a time as the gateway writes it, in UTC where it names no zone; None if it is none."""
    with suppress(ValueError, TypeError, OverflowError):
        at = datetime.fromisoformat(value)  # type: ignore[arg-type]  # whatever it is
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None
