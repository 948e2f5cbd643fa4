"""The desk: what people press in Slack becomes a call of ours, and its result is shown to that person alone.

Slack says who pressed, and that is only a hint: who it is, and what they may do, is for the calls to find out. An
answer to a plan counts by its one-time code alone, which Slack never carried to anybody.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from pydantic import ValidationError

from integrations import bounded
from integrations.channels.slack import form
from integrations.channels.slack.buttons import ACKNOWLEDGE, ANSWER, Acknowledge, Answer
from integrations.channels.slack.client import SlackApi, escaped
from integrations.channels.slack.payloads import LARGEST, Envelope, Press, Submission, read
from integrations.channels.slack.sockets import Link, Sockets
from integrations.channels.slack.words import WORDS
from integrations.hostile import printable
from playbooks.errors import SoarError
from playbooks.people.contacts import Language
from playbooks.strict import Strict

LOG = logging.getLogger("mcp_soar.slack")
S = TypeVar("S", bound=Strict)

PATIENCE: Final = 1.5
"""Seconds that a person's window waits for us; Slack gives three, for an acknowledgement and for opening a window."""

LATEST: Final = 60.0
"""Seconds after which a call of ours counts as failed."""

_REMEMBERED: Final = 2000
_AT_ONCE: Final = 200
_MOST_SAID: Final = 1500
_LAST: Final = 5.0


class Desk(Protocol):
    """What presses lead to. Each returns what the person is shown, or raises a SoarError whose text is."""

    async def acknowledge(self, slack_user: str, incident: str, page: str) -> str:
        """Somebody pressed Acknowledge under a page."""
        ...

    async def answer(self, slack_user: str, incident: str, digest: str, code: str) -> str:
        """Somebody typed a one-time code for a plan."""
        ...

    async def describe(self, incident: str, digest: str, language: Language) -> str:
        """Return what a plan would do, why, what it would break and how it is undone, in lines."""
        ...


async def run(app_token: str, bot_token: str, url: str, desk: Desk, stop: asyncio.Event, *, pause: float = 1.0) -> None:
    """Listen for what is pressed until `stop` is set. An outage of Slack, or a bad token, is logged and waited out.

    Args:
        app_token: `xapp-…`.
        bot_token: `xoxb-…`.
        url: of the Web API.
        desk: what is called.
        stop: ends it; what was pressed already is finished, for five seconds at most.
        pause: seconds before the first new attempt to connect.
    """
    api = SlackApi(bot_token, url)
    counter = _Counter(api, desk)
    sockets = Sockets(app_token, url, counter.take, pause=pause)
    counter.sockets = sockets
    try:
        await sockets.run(stop)
    finally:
        await counter.aclose()
        await sockets.aclose()
        await api.aclose()


async def check(app_token: str, url: str) -> None:
    """Find out whether what people press can reach us; for `doctor`.

    Raises:
        Transient: Slack did not answer.
        Refused: it does not take the token; says what to mend.
    """
    api = SlackApi(app_token, url)
    try:
        await api.ask("apps.connections.open", "channels.slack.app_token")
    finally:
        await api.aclose()


class _Counter:
    """Takes envelopes, each once, and acknowledges every delivery of it."""

    def __init__(self, api: SlackApi, desk: Desk) -> None:
        self.sockets: Sockets | None = None
        self._api = api
        self._desk = desk
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answers: OrderedDict[str, asyncio.Future[dict[str, Any] | None]] = OrderedDict()
        self._closing = False

    async def aclose(self) -> None:
        """Take nothing more, finish what was begun, and end what does not finish."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, link: Link, frame: str) -> None:
        """Take a frame, without waiting for anything."""
        if not frame:
            return
        if len(frame) > LARGEST:
            _drop("an envelope", f"{len(frame)} characters")
            return
        try:
            data = bounded.parsed(frame.encode(), "an envelope")
        except SoarError as exc:
            _drop("an envelope", type(exc).__name__)
            return
        kind = data.get("type") if isinstance(data, dict) else None
        if kind == "hello":
            link.greeted.set()
        elif kind == "disconnect":
            link.over.set()
        else:
            envelope = read(Envelope, data)
            if isinstance(envelope, str):
                _drop("an envelope", envelope)
            elif self._closing or len(self._tasks) > _AT_ONCE:
                # Unacknowledged, so that Slack tells the person that it did not work.
                _drop("an envelope", "ending" if self._closing else "too many at once")
            else:
                self._deliver(link, envelope)

    def _deliver(self, link: Link, envelope: Envelope) -> None:
        answer = self._answers.get(envelope.envelope_id)
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            self._answers[envelope.envelope_id] = answer
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
            self._spawn(self._handle(envelope, answer))
        # Delivered again, it is acknowledged again, and nothing else happens.
        self._spawn(self._acknowledge(link, envelope.envelope_id, answer))

    async def _acknowledge(self, link: Link, id_: str, answer: asyncio.Future[dict[str, Any] | None]) -> None:
        payload = await asyncio.shield(answer)
        now = self.sockets.current if self.sockets is not None else None
        # Its own socket may have closed meanwhile; the one in its place may do.
        if not await link.acknowledge(id_, payload) and not (now and await now.acknowledge(id_, payload)):
            LOG.warning("Slack: a press could not be acknowledged: the socket is gone")

    async def _handle(self, envelope: Envelope, answer: asyncio.Future[dict[str, Any] | None]) -> None:
        try:
            kind = envelope.payload.get("type")
            if envelope.type == "interactive" and kind == "block_actions":
                answer.set_result(None)
                await self._press(read(Press, envelope.payload))
            elif envelope.type == "interactive" and kind == "view_submission":
                await self._submission(read(Submission, envelope.payload), answer)
            else:
                _drop("an envelope", f"of type {printable(envelope.type, 40)} with {printable(str(kind)[:40], 40)}")
        except SoarError as exc:
            LOG.warning("Slack: what was pressed was dealt with, but its result is not shown: %s", exc)
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not go unseen, and its text may hold a code
            LOG.error("Slack: dealing with what was pressed failed: %s", type(exc).__name__)  # noqa: TRY400  # as above
        finally:
            if not answer.done():
                answer.set_result(None)

    async def _press(self, press: Press | str) -> None:
        if isinstance(press, str):
            _drop("a press", press)
            return
        action = press.actions[0]
        if action.action_id == ACKNOWLEDGE:
            page = _carried(Acknowledge, action.value)
            if page is not None:
                call = self._desk.acknowledge(press.user.id, page.incident, page.page)
                said, _ = await self._called(call, page.language, page.incident)
                await self._whisper(press, said)
        elif action.action_id == ANSWER or action.action_id.startswith(f"{ANSWER}."):
            about = _carried(Answer, action.value)
            if about is not None:
                await self._open(press, about)
        else:
            _drop("a press", f"none of ours is called {printable(action.action_id, 60)}")

    async def _open(self, press: Press, about: Answer) -> None:
        """Open the form: with what the plan would do if that is known in time, and else without it for a moment."""
        describing = self._spawn(self._plan(about))
        await asyncio.wait({describing}, timeout=PATIENCE)
        late = not describing.done()
        view = (
            form.notice(about.language, WORDS[about.language].looking) if late else _described(about, *await describing)
        )
        try:
            opened = await self._api.ask("views.open", trigger_id=press.trigger_id, view=view)
        except SoarError:
            await self._whisper(press, WORDS[about.language].failed.format(incident=about.incident))
            raise
        if late:
            view = _described(about, *await describing)
            await self._api.ask("views.update", view_id=str(opened["view"]["id"]), view=view)

    async def _submission(self, submission: Submission | str, answer: asyncio.Future[dict[str, Any] | None]) -> None:
        if isinstance(submission, str):
            _drop("a form", submission)
            return
        view = submission.view
        if view.callback_id != form.CALLBACK:
            _drop("a form", f"none of ours is called {printable(view.callback_id, 60)}")
            return
        about = _carried(Answer, view.private_metadata)
        if about is None:
            return
        code = view.state.values.code.code.value.get_secret_value()
        call = self._desk.answer(submission.user.id, about.incident, about.digest, code)
        answering = self._spawn(self._called(call, about.language, about.incident))
        await asyncio.wait({answering}, timeout=PATIENCE)
        if answering.done():
            said, taken = await answering
            answer.set_result(form.instead(form.notice(about.language, said)) if taken else form.refused(said))
            return
        answer.set_result(form.instead(form.notice(about.language, WORDS[about.language].passing)))
        said, taken = await answering
        later = form.notice(about.language, said)
        if not taken:
            plan, known = await self._plan(about)
            later = form.form(about, plan if known else "", fault=said)
        await self._api.ask("views.update", view_id=view.id, view=later)

    async def _plan(self, about: Answer) -> tuple[str, bool]:
        """Return what a plan would do, and whether that is known."""
        call = self._desk.describe(about.incident, about.digest, about.language)
        return await self._called(call, about.language, about.incident)

    async def _called(self, call: Coroutine[Any, Any, str], language: Language, incident: str) -> tuple[str, bool]:
        """Return what a call of ours says to the person, and whether it did what they asked."""
        try:
            async with asyncio.timeout(LATEST):
                return await call, True
        except SoarError as exc:
            return str(exc), False
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not end the desk, and its text may hold a code
            LOG.error("Slack: what was pressed failed: %s", type(exc).__name__)  # noqa: TRY400  # as above: no traceback
            return WORDS[language].failed.format(incident=incident), False

    async def _whisper(self, press: Press, text: str) -> None:
        """Show something to that person alone, where they pressed."""
        thread = press.message.thread_ts
        await self._api.ask(
            "chat.postEphemeral",
            f"user {press.user.id}",
            channel=press.channel.id,
            user=press.user.id,
            text=escaped(printable(text, _MOST_SAID), 2 * _MOST_SAID),
            parse="none",
            link_names=False,
            **({"thread_ts": thread} if thread else {}),
        )

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _described(about: Answer, plan: str, known: bool) -> dict[str, Any]:  # noqa: FBT001  # as _called returns it
    return form.form(about, plan) if known else form.notice(about.language, plan)


def _carried(kind: type[S], value: str) -> S | None:
    try:
        return kind.model_validate_json(value)
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        _drop("a press", f"it carries no {kind.__name__.lower()}: {fault['type']}")
        return None


def _drop(what: str, why: str) -> None:
    LOG.warning("Slack: dropped %s: %s", what, why)
