"""What the check `configuration` asks of a gateway. It only reads, and what only a guess would tell it does not try.

ContextForge 1.0.7: its diagnostics (`GET /version`, for administrators) say which of its parts are on; who is let in is
asked as somebody whom it does not know. Whether anybody may register is not asked: that takes registering. Nor is a
default password tried: each try counts towards locking the account.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from integrations.http import Answer, Request
from integrations.settings import LONGEST_KEY, Ask, setting
from integrations.systems.contextforge import KIND
from integrations.systems.contextforge.audit import audited
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.estate import moment_of
from playbooks.action import World
from playbooks.errors import Refused, Transient
from playbooks.record.check import About, Found
from playbooks.strict import now
from playbooks.taxonomy import EntityKind, Severity

_NOBODY: Final = {"Authorization": ""}
_ELSEWHERE: Final = "https://elsewhere.invalid"
_PLACEHOLDERS: Final = frozenset({"changeme", "changeme123", "admin", "password", "secret", ""})
_NO: Final = frozenset({401, 403})
_LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
_ACCEPT: Final = {"Accept": "application/json, text/event-stream"}


def asks(world: World) -> Mapping[str, Ask]:
    """Return what is asked of each gateway."""
    questions = {"access": _access, "pages of others": _others, "administration": _parts, "tokens": _tokens}
    questions |= {"audit": _audit}
    names = world.inventory.gateways_of(KIND)
    return {f"gateway {name}: {what}": partial(ask, world, name) for name in names for what, ask in questions.items()}


async def _access(world: World, name: str) -> Sequence[Found]:
    """Ask as nobody, and with a session of nobody's."""
    forge, subject, found = world.reach(ContextForge, name), f"gateway {name}", list[Found]()
    answer = await forge.api.send(Request("GET", "/v1/tools", {"limit": "1"}, headers=_NOBODY))
    if answer.success:
        found.append(
            setting(
                subject,
                "authentication of the API",
                "off: tools were listed to somebody without credentials",
                expected="on",
                severity=Severity.CRITICAL,
                remedy="start the gateway with AUTH_REQUIRED=true, and ALLOW_UNAUTHENTICATED_ADMIN=false",
            )
        )
    url = world.inventory.gateways[name].canary.url
    _told(answer, name, "GET /v1/tools")
    answer = await forge.api.send(Request("POST", url, json=_LIST, headers={**_NOBODY, **_ACCEPT}))
    _told(answer, name, "POST tools/list")
    if answer.success:
        found.append(
            setting(
                subject,
                "authentication of MCP clients",
                "off: tools were listed to somebody without credentials",
                expected="on",
                severity=Severity.CRITICAL,
                remedy="start the gateway with MCP_REQUIRE_AUTH=true",
            )
        )
    if forge.api.placeholder(_PLACEHOLDERS):
        found.append(
            setting(
                subject,
                f"the password of {forge.api.account}",
                "a placeholder of the product",
                expected="one of your own",
                severity=Severity.CRITICAL,
                remedy="change it there, and write the new one where inventory.yaml says it is",
            )
        )
    return found


def _told(answer: Answer, name: str, what: str) -> None:
    """Refuse to take anything for a no that is none: a gateway that is broken lets nobody in, and is not set well."""
    if not answer.success and answer.status not in _NO:
        raise Transient(f"gateway {name}: {what} as nobody answered {answer.status}, which is neither yes nor no")


async def _others(world: World, name: str) -> Sequence[Found]:
    forge = world.reach(ContextForge, name)
    answer = await forge.api.send(Request("GET", "/health", headers={"Origin": _ELSEWHERE, **_NOBODY}))
    if not answer.success:
        raise Transient(f"gateway {name}: GET /health answered {answer.status}")
    if answer.readable_by not in {"*", _ELSEWHERE}:
        return ()
    return (
        setting(
            f"gateway {name}",
            "CORS",
            f"open to any page: {answer.readable_by}",
            expected="limited to named origins",
            severity=Severity.HIGH,
            remedy="name the origins in ALLOWED_ORIGINS where the gateway is started",
        ),
    )


async def _parts(world: World, name: str) -> Sequence[Found]:
    forge, found = world.reach(ContextForge, name), list[Found]()
    said = await forge.api.fields("GET", "/version") or {}
    parts, env = said.get("settings"), said.get("env")
    if not isinstance(parts, dict) or not isinstance(env, dict):
        raise Refused(f"gateway {name}: GET /version does not say which parts are on")
    if parts.get("mcpgateway_ui_enabled"):
        found.append(
            setting(
                f"gateway {name}",
                "administration page",
                "on",
                expected="off where nobody uses it",
                severity=Severity.MEDIUM,
                remedy="start the gateway with MCPGATEWAY_UI_ENABLED=false, or keep /admin from clients' networks",
            )
        )
    if str(env.get("AUTH_REQUIRED", "")).casefold() in {"false", "0"}:
        found.append(
            setting(
                f"gateway {name}",
                "AUTH_REQUIRED",
                "false",
                expected="true",
                severity=Severity.CRITICAL,
                remedy="start the gateway with AUTH_REQUIRED=true",
            )
        )
    if str(env.get("HOST", "")) in {"0.0.0.0", "::"}:  # noqa: S104  # what is looked for
        found.append(
            setting(
                f"gateway {name}",
                "address that it listens at",
                "every one of its machine",
                expected="one",
                severity=Severity.LOW,
                remedy="start the gateway with HOST set to the address that clients use",
            )
        )
    return found


async def _tokens(world: World, name: str) -> Sequence[Found]:
    """Look how long tokens are good for."""
    forge, at, found = world.reach(ContextForge, name), now(), list[Found]()
    for token in await forge.tokens():
        ends, made = moment_of(token.get("expires_at")), moment_of(token.get("created_at"))
        if token.get("is_revoked") or (ends is not None and ends <= at):
            continue
        lasts = None if ends is None else round((ends - (made or at)) / timedelta(days=1))
        if lasts is not None and lasts <= LONGEST_KEY:
            continue
        found.append(
            setting(
                f"token {token.get('name')} of {token.get('user_email')} at gateway {name}",
                "end",
                "never" if lasts is None else f"{lasts} days after it was issued",
                expected=f"within {LONGEST_KEY} days",
                severity=Severity.HIGH if lasts is None else Severity.MEDIUM,
                remedy="issue another with an end, and revoke this one",
                about=(About(EntityKind.TOKEN, str(token["id"])),),
            )
        )
    return found


async def _audit(world: World, name: str) -> Sequence[Found]:
    forge, unknown, found = world.reach(ContextForge, name), list[str](), list[Found]()
    for one in await audited(forge):
        if one.on is None:
            unknown.append(f"{one.what}: {one.said}")
        elif not one.on:
            found.append(
                setting(
                    f"gateway {name}",
                    one.what,
                    f"off: {one.said}",
                    expected="on",
                    severity=Severity.HIGH,
                    remedy=f"start the gateway with {one.setting}=true: without it nothing there says who did what",
                )
            )
    if unknown and not found:
        raise Refused("; ".join(unknown))
    return found
