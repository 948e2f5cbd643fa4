"""The one fake of Slack: its Web API and Socket Mode over real sockets, with a workspace that tests look into.

What it does is what Slack's documentation says: https://docs.slack.dev/apis/web-api/ (form or JSON, `ok` and `error`),
https://docs.slack.dev/apis/web-api/rate-limits (429 with Retry-After), https://docs.slack.dev/reference/methods (each
method's errors), https://docs.slack.dev/apis/events-api/using-socket-mode (hello, envelopes, disconnect) and
https://docs.slack.dev/reference/interaction-payloads (what a press and a submission carry). The one thing not written
there is that a `client_msg_id` sent twice answers with the first message; its errors say that it is looked up.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from tests.lab.block_kit import faults, texts, view_faults

BOT_TOKEN = "xoxb-1-bot-s3cr3t"  # noqa: S105  # the fake's
APP_TOKEN = "xapp-1-app-s3cr3t"  # noqa: S105  # the fake's
ROOM = "C0SOC"
ANN = "U0ANN"
BOB = "U0BOB"
_JSON_TOO = {"chat.postMessage", "chat.postEphemeral", "chat.update", "views.open", "views.update", "auth.test"}
_SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "conversations.open": "im:write",
    "conversations.info": "channels:read",
    "users.info": "users:read",
}
_PATIENCE = 60.0


class Fault(StrEnum):
    """How a method fails."""

    BROKEN = "answer 503 with a page that is no JSON"
    ERROR = "answer 200 with internal_error"
    BUSY = "answer 429 with Retry-After: 7"
    BUSY_IN_BODY = "answer 429 with retry_after: 2 in the body alone"
    HANG = "never answer"
    LOST = "do it, then close without an answer"


_BUSY: dict[Fault | None, tuple[dict[str, int], dict[str, str]]] = {
    Fault.BUSY: ({}, {"Retry-After": "7"}),
    Fault.BUSY_IN_BODY: ({"retry_after": 2}, {}),
}


@dataclass
class Posted:
    """A message in a conversation.

    Args:
        ts: its id there.
        arguments: it was posted with, or last updated with.
        edits: how often it was updated.
        deleted: it is gone.
    """

    ts: str
    arguments: dict[str, Any]
    edits: int = 0
    deleted: bool = False

    @property
    def text(self) -> str:
        """The text beside the blocks."""
        return str(self.arguments.get("text", ""))

    @property
    def thread(self) -> str:
        """The first message of its thread, or nothing."""
        return str(self.arguments.get("thread_ts", ""))

    @property
    def shown(self) -> str:
        """All that it says, block by block."""
        return "\n".join([self.text, *texts(self.arguments.get("blocks", []))])

    @property
    def buttons(self) -> dict[str, dict[str, Any]]:
        """Its buttons by action_id."""
        blocks = [block for block in self.arguments.get("blocks", []) if block.get("type") == "actions"]
        return {element["action_id"]: element for block in blocks for element in block["elements"]}


@dataclass
class Conversation:
    """A channel, or a direct message with somebody.

    Args:
        id: `C…` or `D…`.
        name: without the #.
        archived: nothing can be posted.
        member: the app is in it.
        messages: all that were posted, in order.
        whispers: what one person alone was shown, as (user, text, thread).
    """

    id: str
    name: str
    archived: bool = False
    member: bool = True
    messages: list[Posted] = field(default_factory=list)
    whispers: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Acknowledged:
    """How the app acknowledged an envelope.

    Args:
        payload: of the acknowledgement.
        after: seconds since it was delivered.
    """

    payload: dict[str, Any]
    after: float


@dataclass
class View:
    """A modal that somebody sees.

    Args:
        id: its id.
        user: who.
        view: as it was sent last.
        open: still to be seen.
    """

    id: str
    user: str
    view: dict[str, Any]
    open: bool = True

    @property
    def shown(self) -> str:
        """All that it says."""
        return "\n".join(texts(self.view))

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Its fields."""
        return [block for block in self.view["blocks"] if block["type"] == "input"]


class _No(Exception):
    def __init__(self, error: str, **more: object) -> None:
        super().__init__(error)
        self.answer = {"ok": False, "error": error, **more}


class FakeSlack:
    """A workspace, its Web API and its sockets. Times and ids are made up; limits and errors are Slack's."""

    def __init__(self) -> None:
        self.url = ""
        self.bot_tokens = {BOT_TOKEN}
        self.app_tokens = {APP_TOKEN}
        self.scopes = "chat:write,im:write,channels:read,groups:read,users:read"
        self.conversations = {ROOM: Conversation(ROOM, "soc")}
        self.users: dict[str, dict[str, Any]] = {ANN: {"id": ANN, "name": "ann"}, BOB: {"id": BOB, "name": "bob"}}
        self.views: dict[str, View] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.received: list[str] = []
        """Every body and every frame that the app sent, as it was."""
        self.faults: dict[str, list[Fault]] = {}
        """What goes wrong with a method's next calls, the first one first; of `*`, with any."""
        self.refuses: set[str] = set()
        """Types of block that it takes in no message."""
        self.stale_tickets = 0
        """How many of the next addresses of sockets are worthless."""
        self.opened = 0
        """How many sockets there have been."""
        self.sockets: list[web.WebSocketResponse] = []
        self._numbers = itertools.count(1)
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()
        self._tickets: set[str] = set()
        self._triggers: dict[str, str] = {}
        self._client_ids: dict[str, tuple[str, Posted]] = {}
        self._acknowledged: dict[str, Acknowledged] = {}
        self._delivered: dict[str, float] = {}

    async def up(self) -> None:
        """Be there, at the same address as before."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/api/{method}", self._serve)
        app.router.add_get("/link", self._link)
        self._released = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handle_signals=False, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/api/"

    async def down(self) -> None:
        """Be gone: no new connection, and those that there are end without a word."""
        self._released.set()
        self._tickets.clear()
        for socket in self.sockets:
            if socket._req is not None and socket._req.transport is not None:  # noqa: SLF001  # as when a cable is cut
                socket._req.transport.abort()  # noqa: SLF001  # as above
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds in the workspace.

        Args:
            holds: asked again and again.
            what: for the failure's message.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                while not holds():  # noqa: ASYNC110  # any condition, of any object
                    await asyncio.sleep(0.01)
        except TimeoutError:
            message = f"not within {_PATIENCE:.0f} s: {what}"
            raise AssertionError(message) from None

    async def connected(self, sockets: int = 1) -> None:
        """Wait until the app has that many open sockets."""
        await self.until(lambda: len(self.sockets) == sockets, f"{sockets} open sockets")

    def messages(self, conversation: str = ROOM) -> list[Posted]:
        """Return what is to be seen in a conversation."""
        return [message for message in self.conversations[conversation].messages if not message.deleted]

    def direct(self, user: str) -> Conversation:
        """Return somebody's direct message with the app."""
        return self.conversations[f"D{user[1:]}"]

    def delete_channel(self, id_: str) -> None:
        """Delete a channel with all that is in it."""
        del self.conversations[id_]

    def delete(self, conversation: str, ts: str) -> None:
        """Delete a message."""
        self._find(conversation, ts).deleted = True

    def said(self, method: str) -> list[dict[str, Any]]:
        """Return the arguments of a method's calls."""
        return [arguments for name, arguments in self.calls if name == method]

    # What people do

    async def press(self, user: str, conversation: str, ts: str, action: str) -> Acknowledged:
        """Press a button of a message, and return how the app acknowledged it."""
        return await self.deliver(self.pressed(user, conversation, ts, action))

    def pressed(self, user: str, conversation: str, ts: str, action: str) -> dict[str, Any]:
        """Return what a press sends (docs.slack.dev/reference/interaction-payloads/block_actions-payload)."""
        message = self._find(conversation, ts)
        button = message.buttons[action]
        trigger = f"{next(self._numbers)}.{next(self._numbers)}.{'f' * 32}"
        self._triggers[trigger] = user
        thread = {"thread_ts": message.thread} if message.thread else {}
        return {
            "type": "block_actions",
            "user": {"id": user, "username": self.users[user]["name"], "team_id": "T0TEAM"},
            "api_app_id": "A0APP",
            "token": "verification",
            "container": {"type": "message", "message_ts": ts, "channel_id": conversation, "is_ephemeral": False},
            "trigger_id": trigger,
            "team": {"id": "T0TEAM", "domain": "team"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": conversation, "name": self.conversations[conversation].name},
            "message": {"type": "message", "ts": ts, "text": message.text, "user": "U0BOT", **thread},
            "state": {"values": {}},
            "response_url": "https://hooks.slack.com/actions/T0TEAM/1/x",
            "actions": [
                {
                    "type": "button",
                    "action_id": action,
                    "block_id": "x1",
                    "text": button["text"],
                    "value": button["value"],
                    "action_ts": "1755000000.000001",
                }
            ],
        }

    async def submit(self, view: View, **fields: str) -> Acknowledged:
        """Fill in a modal's fields, by block_id, press its button, and do what the app answers.

        An answer without a payload closes it; `update` shows another view; `errors` stand beside the fields:
        https://docs.slack.dev/surfaces/modals#handling_submissions
        """
        answer = await self.deliver(self.submitted(view, **fields))
        match answer.payload.get("response_action"):
            case None:
                view.open = False
            case "update":
                assert not view_faults(answer.payload["view"]), view_faults(answer.payload["view"])
                view.view = answer.payload["view"]
            case "errors":
                known = {block["block_id"] for block in view.inputs}
                assert answer.payload["errors"].keys() <= known, "an error for a field that there is not"
            case action:
                message = f"no such response_action: {action}"
                raise AssertionError(message)
        return answer

    def submitted(self, view: View, **fields: str) -> dict[str, Any]:
        """Return what a submission sends (docs.slack.dev/reference/interaction-payloads/view-interactions-payload)."""
        values = {
            block["block_id"]: {
                block["element"]["action_id"]: {
                    "type": block["element"]["type"],
                    "value": fields.get(block["block_id"]),
                }
            }
            for block in view.inputs
        }
        return {
            "type": "view_submission",
            "team": {"id": "T0TEAM", "domain": "team"},
            "user": {"id": view.user, "username": self.users[view.user]["name"], "team_id": "T0TEAM"},
            "api_app_id": "A0APP",
            "token": "verification",
            "trigger_id": f"{next(self._numbers)}.2.x",
            "view": {**view.view, "id": view.id, "hash": "1.x", "state": {"values": values}},
            "response_urls": [],
        }

    # Socket Mode

    async def deliver(
        self, payload: object, *, kind: str = "interactive", envelope: str = "", socket: int = -1
    ) -> Acknowledged:
        """Send an envelope over a socket, and return how it was acknowledged."""
        envelope = await self.send(payload, kind=kind, envelope=envelope, socket=socket)
        await self.until(lambda: envelope in self._acknowledged, f"an acknowledgement of {envelope}")
        return self._acknowledged[envelope]

    async def send(self, payload: object, *, kind: str = "interactive", envelope: str = "", socket: int = -1) -> str:
        """Send an envelope over a socket, and return its id without waiting.

        Args:
            payload: of the envelope.
            kind: its type.
            envelope: its id; a fresh one if empty. Given again, it is a second delivery.
            socket: which, in the order in which they were opened.
        """
        envelope = envelope or f"00000000-0000-4000-8000-{next(self._numbers):012d}"
        body = {"envelope_id": envelope, "type": kind, "accepts_response_payload": True, "payload": payload}
        self._acknowledged.pop(envelope, None)
        self._delivered[envelope] = asyncio.get_running_loop().time()
        await self.raw(json.dumps(body), socket=socket)
        return envelope

    def acknowledged(self, envelope: str) -> bool:
        """Whether the app has acknowledged an envelope."""
        return envelope in self._acknowledged

    async def raw(self, frame: str, *, socket: int = -1) -> None:
        """Send a frame as it is."""
        await self.sockets[socket].send_str(frame)

    async def refresh(self, reason: str = "refresh_requested") -> None:
        """Announce that the newest socket will be closed, as Slack does every few hours; it still delivers."""
        await self.raw(json.dumps({"type": "disconnect", "reason": reason, "debug_info": {"host": "fake"}}))

    def freeze(self, socket: int = -1) -> None:
        """Let a socket be open and dead: nothing is read from it, so that no ping is answered."""
        request = self.sockets[socket]._req  # noqa: SLF001  # as when a firewall forgot the connection
        assert request is not None
        assert request.transport is not None
        request.transport.pause_reading()

    async def close_socket(self) -> None:
        """Close the youngest socket."""
        await self.sockets[-1].close(code=WSCloseCode.GOING_AWAY)

    async def _link(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        # One address is good for one connection.
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        info = {"app_id": "A0APP"}
        debug = {"host": "fake", "approximate_connection_time": 3600}
        hello = {
            "type": "hello",
            "num_connections": len(self.sockets) + 1,
            "connection_info": info,
            "debug_info": debug,
        }
        await socket.send_json(hello)
        self.opened += 1
        self.sockets.append(socket)
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    self.received.append(frame.data)
                    self._take(json.loads(frame.data))
        finally:
            self.sockets.remove(socket)
        return socket

    def _take(self, answer: Mapping[str, Any]) -> None:
        envelope = answer["envelope_id"]
        took = asyncio.get_running_loop().time() - self._delivered[envelope]
        self._acknowledged[envelope] = Acknowledged(answer.get("payload") or {}, took)

    # The Web API

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        body = await request.text()
        self.received.append(body)
        arguments = dict(request.query)
        if request.content_type == "application/json":
            arguments |= json.loads(body) if method in _JSON_TOO else {}
        else:
            form = await request.post()
            arguments |= {name: str(value) for name, value in form.items()}
            for name in ("blocks", "view", "metadata"):
                if name in arguments:
                    arguments[name] = json.loads(arguments[name])
        due = self.faults.get(method) or self.faults.get("*") or []
        fault = due.pop(0) if due else None
        if fault is Fault.HANG:
            await self._released.wait()
        if fault in {Fault.HANG, Fault.BROKEN}:
            return web.Response(status=503, text="<html>Service Unavailable</html>", content_type="text/html")
        if fault in _BUSY:
            return web.json_response(
                {"ok": False, "error": "ratelimited"} | _BUSY[fault][0], status=429, headers=_BUSY[fault][1]
            )
        if fault is Fault.ERROR:
            return web.json_response({"ok": False, "error": "internal_error"})
        try:
            self._authenticate(method, request.headers.get("Authorization", ""))
            self.calls.append((method, arguments))
            answer = {"ok": True, **self._do(method, arguments)}
        except _No as no:
            answer = no.answer
        if fault is Fault.LOST and request.transport is not None:
            request.transport.abort()
        return web.json_response(answer, headers={"X-OAuth-Scopes": self.scopes})

    def _authenticate(self, method: str, header: str) -> None:
        token = header.removeprefix("Bearer ")
        if not header.startswith("Bearer ") or not token:
            raise _No("not_authed")
        if method == "apps.connections.open":
            if token in self.bot_tokens:
                raise _No("not_allowed_token_type")
            if token not in self.app_tokens:
                raise _No("invalid_auth")
        elif token not in self.bot_tokens:
            raise _No("invalid_auth")
        elif method in _SCOPES and _SCOPES[method] not in self.scopes.split(","):
            raise _No("missing_scope", needed=_SCOPES[method], provided=self.scopes)

    def _do(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        methods = {
            "auth.test": self._who,
            "apps.connections.open": self._connect,
            "users.info": self._user,
            "conversations.open": self._open,
            "conversations.info": self._about,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._whisper,
            "views.open": self._open_view,
            "views.update": self._update_view,
        }
        if method not in methods:
            raise _No("unknown_method", req_method=method)
        return methods[method](arguments)

    def _who(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"url": "https://team.slack.com/", "team": "Team", "user": "mcp-soar", "bot_id": "B0BOT"}

    def _connect(self, _: dict[str, Any]) -> dict[str, Any]:
        ticket = f"ticket-{next(self._numbers)}"
        if self.stale_tickets:
            self.stale_tickets -= 1
        else:
            self._tickets.add(ticket)
        return {"url": f"ws://127.0.0.1:{self._port}/link?ticket={ticket}"}

    def _user(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("user") not in self.users:
            raise _No("user_not_found")
        return {"user": self.users[arguments["user"]]}

    def _about(self, arguments: dict[str, Any]) -> dict[str, Any]:
        found = self._conversation(arguments)
        about = {"id": found.id, "name": found.name, "is_archived": found.archived, "is_member": found.member}
        return {"channel": about}

    def _conversation(self, arguments: Mapping[str, Any]) -> Conversation:
        found = self.conversations.get(str(arguments.get("channel")))
        if found is None:
            raise _No("channel_not_found")
        return found

    def _find(self, conversation: str, ts: str) -> Posted:
        found = next((m for m in self.conversations[conversation].messages if m.ts == ts and not m.deleted), None)
        if found is None:
            raise _No("message_not_found")
        return found

    def _open(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user = str(arguments.get("users", ""))
        if user not in self.users:
            raise _No("users_not_found")
        if self.users[user].get("deleted"):
            raise _No("user_disabled")
        id_ = f"D{user[1:]}"
        self.conversations.setdefault(id_, Conversation(id_, "directmessage"))
        return {"channel": {"id": id_}}

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        known = self._client_ids.get(str(arguments.get("client_msg_id", "")))
        if known is not None:
            channel, message = known
            if channel not in self.conversations:
                raise _No("duplicate_channel_not_found")
            if message.deleted:
                raise _No("duplicate_message_not_found")
            return {"channel": channel, "ts": message.ts, "message": {"text": message.text}}
        place = self._conversation(arguments)
        if place.archived:
            raise _No("is_archived")
        if not place.member:
            raise _No("not_in_channel")
        self._written(arguments, most=40_000)
        thread = arguments.get("thread_ts")
        if thread and not any(m.ts == thread and not m.deleted for m in place.messages):
            raise _No("thread_not_found")
        message = Posted(f"1755000000.{next(self._numbers):06d}", arguments)
        place.messages.append(message)
        if arguments.get("client_msg_id"):
            self._client_ids[arguments["client_msg_id"]] = (place.id, message)
        return {"channel": place.id, "ts": message.ts, "message": {"text": message.text}}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = self._conversation(arguments)
        message = self._find(place.id, str(arguments.get("ts")))
        self._written(arguments, most=4000)
        # What is not given stays; an update does not move a message to another thread.
        message.arguments = {**message.arguments, **arguments}
        message.edits += 1
        return {"channel": place.id, "ts": message.ts, "text": message.text}

    def _whisper(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place = self._conversation(arguments)
        if arguments.get("user") not in self.users:
            raise _No("user_not_in_channel")
        self._written(arguments, most=40_000)
        place.whispers.append((arguments["user"], arguments["text"], arguments.get("thread_ts", "")))
        return {"message_ts": f"1755000000.{next(self._numbers):06d}"}

    def _written(self, arguments: Mapping[str, Any], *, most: int) -> None:
        text, blocks = arguments.get("text"), arguments.get("blocks")
        if not text and not blocks:
            raise _No("no_text")
        if len(text or "") > most:
            raise _No("msg_too_long")
        found = faults(blocks) if blocks is not None else []
        found += [f"unsupported type: {block['type']}" for block in blocks or [] if block.get("type") in self.refuses]
        if found:
            raise _No("invalid_blocks", response_metadata={"messages": [f"[ERROR] {fault}" for fault in found]})

    def _open_view(self, arguments: dict[str, Any]) -> dict[str, Any]:
        # A trigger is good once, and for three seconds; tests that want it late take it away.
        user = self._triggers.pop(str(arguments.get("trigger_id")), None)
        if user is None:
            raise _No("expired_trigger_id")
        self._viewed(arguments)
        view = View(f"V{next(self._numbers)}", user, arguments["view"])
        self.views[view.id] = view
        return {"view": {**view.view, "id": view.id}}

    def _update_view(self, arguments: dict[str, Any]) -> dict[str, Any]:
        view = self.views.get(str(arguments.get("view_id")))
        if view is None or not view.open:
            raise _No("not_found")
        self._viewed(arguments)
        view.view = arguments["view"]
        return {"view": {**view.view, "id": view.id}}

    def _viewed(self, arguments: Mapping[str, Any]) -> None:
        if found := view_faults(arguments.get("view")):
            raise _No("invalid_arguments", response_metadata={"messages": [f"[ERROR] {fault}" for fault in found]})


@asynccontextmanager
async def fake_slack() -> AsyncIterator[FakeSlack]:
    """Run a workspace on a free loopback port, in this event loop."""
    slack = FakeSlack()
    await slack.up()
    try:
        yield slack
    finally:
        await slack.down()
