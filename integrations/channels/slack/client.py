"""Slack's Web API: one kept-alive connection pool, and its errors as ours."""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from integrations.hostile import printable
from integrations.waiting import LONGEST, Respite, wait_of
from playbooks.errors import Refused, SoarError, Transient

TIMEOUT: Final = 10.0
"""Seconds for one request."""

QUIET: Final = logging.getLogger("mcp_soar.slack.sdk")
"""What the SDK logs to: nothing. At debug level it writes whole payloads, one-time codes included, and in its errors
the WebSocket's address, which is a secret."""
QUIET.disabled = True
QUIET.setLevel(logging.CRITICAL)

# Reading methods take a query or a form and no JSON: https://docs.slack.dev/apis/web-api/
_AS_JSON: Final = {"chat.postMessage", "chat.postEphemeral", "chat.update", "views.open", "views.update"}
# Of https://docs.slack.dev/reference/methods/chat.postMessage: what passes by itself.
_PASSING: Final = {
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
}
_TOKEN: Final = "reinstall the Slack app and put its new token where contacts.yaml takes it from"  # noqa: S105  # advice
_MEND: Final = {
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "account_inactive": _TOKEN,
    "token_revoked": _TOKEN,
    "token_expired": _TOKEN,
    "not_allowed_token_type": "channels.slack wants bot_token as xoxb-… and app_token as xapp-…",
    "missing_scope": "add the scope to the Slack app and reinstall it",
    "no_permission": "add the app to that conversation",
    "channel_not_found": "it is gone, or the app is not in it: mend the id in contacts.yaml, or invite the app",
    "is_archived": "unarchive it, or name another one in contacts.yaml",
    "not_in_channel": "invite the app with /invite",
    "user_not_found": "mend the id in contacts.yaml",
    "users_not_found": "mend the id in contacts.yaml",
    "user_disabled": "that person has left the workspace: mend contacts.yaml",
    "cannot_dm_bot": "that id is a bot's: mend contacts.yaml",
    "messages_tab_disabled": "turn on the Messages tab in the Slack app's settings",
    "restricted_action": "let the app post there, in the workspace's settings",
    "ekm_access_denied": "the workspace's administrators have suspended posting there",
}


class SlackRefused(Refused):
    """Slack said no.

    Args:
        message: what it refused, and what to do about it.
        error: Slack's own word, as `channel_not_found`.
    """

    def __init__(self, message: str, *, error: str) -> None:
        super().__init__(message)
        self.error = error


class SlackApi:
    """The Web API as one token may use it.

    Args:
        token: `xoxb-…`, or `xapp-…` for opening a socket.
        url: of the Web API, as `https://slack.com/api/`.
    """

    def __init__(self, token: str, url: str) -> None:
        self.url = url
        self.patience = TIMEOUT
        """Seconds for one request."""
        self._respite = Respite()
        self._session: aiohttp.ClientSession | None = None
        # The SDK sends a message again when the connection broke, and then it is there twice: no retries of its own.
        self.web = AsyncWebClient(token, base_url=url, logger=QUIET, retry_handlers=[])
        # Like all our connections: nothing from the environment decides where they go.
        self.web.proxy = None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, about: str = "", **arguments: object) -> Mapping[str, Any]:
        """Call a method and return its answer.

        Args:
            method: as `chat.postMessage`.
            about: what the errors name, as `channel C0SOC`.
            arguments: of the method.

        Raises:
            Transient: it did not answer, is busy, or broke; or was busy and asked to be left alone until later.
            SlackRefused: it said no.
        """
        what = f"Slack {method}" + (f" for {about}" if about else "")
        # Its limits are per method: https://docs.slack.dev/apis/web-api/rate-limits
        self._respite.respect(method, what)
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trust_env=False)
            self.web.session = self._session
        try:
            async with asyncio.timeout(self.patience):
                if method in _AS_JSON:
                    answer = await self.web.api_call(method, json=arguments)
                else:
                    answer = await self.web.api_call(method, params=arguments)
        except SlackApiError as exc:
            error = _error(what, exc)
            if isinstance(error, Transient):
                self._respite.grant(method, error.retry_after)
            raise error from exc
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Transient(f"{what}: no answer ({type(exc).__name__})") from exc
        except (SlackClientError, ValueError, TypeError) as exc:
            # Not the protocol: a proxy's page, or half an answer.
            raise Transient(f"{what}: the answer is not Slack's ({type(exc).__name__})") from exc
        return {**answer.data, "headers": answer.headers} if isinstance(answer.data, dict) else {}


def escaped(text: str, limit: int) -> str:
    """Return text in which nothing is a mention, a link or a command, cut at `limit`.

    See https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    parts: list[str] = []
    left = limit
    for character in text:
        part = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        left -= len(part)
        if left < 1:
            return "".join(parts) + "…"
        parts.append(part)
    return "".join(parts)


def _error(what: str, exc: SlackApiError) -> SoarError:
    response: Any = exc.response
    # The SDK gives its own response, or aiohttp's where the body was not JSON.
    status = int(getattr(response, "status_code", None) or getattr(response, "status", None) or 0)
    headers = getattr(response, "headers", None) or {}
    data = getattr(response, "data", None)
    said: Mapping[str, Any] = data if isinstance(data, dict) else {}
    error = printable(str(said.get("error") or ""), 100)
    message = f"{what}: {error or f'HTTP {status}'}"
    busy = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if busy or not error or error in _PASSING:
        # At times only the body says how long.
        asked = headers.get("Retry-After") or said.get("retry_after")
        return Transient(message, retry_after=wait_of(asked, longest=LONGEST))
    needed = f" {printable(str(said['needed']), 100)}" if error == "missing_scope" and "needed" in said else ""
    mend = _MEND.get(error)
    return SlackRefused(f"{message}{needed}" + (f"; {mend}" if mend else _details(said)), error=error)


def _details(said: Mapping[str, Any]) -> str:
    """Return what Slack says of an invalid argument, as which block's text is too long."""
    meta = said.get("response_metadata")
    messages = meta.get("messages") if isinstance(meta, dict) else None
    return f": {printable('; '.join(map(str, messages)), 300)}" if isinstance(messages, list) and messages else ""
