"""Asking what is outside: a step by its name, each question within its time, and the verdict of one that broke off."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from pydantic import ValidationError
from typing_extensions import override

from flows.engine.case import Case
from playbooks.action import Action, Capture, Sink, World, Written
from playbooks.errors import Misconfigured, SoarError, Transient, Unforeseen
from playbooks.gate.plan import Answer, Finding, Plan, Verdict
from playbooks.playbook import Parameters

T = TypeVar("T")
LOG = logging.getLogger("mcp_soar.engine")


async def within(seconds: float, call: Awaitable[T], what: str) -> T:
    """Await an outside system, but not for longer than that.

    Raises:
        Transient: when it takes longer.
        Unforeseen: when our own code falls over what it said.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as exc:
        raise Transient(f"{what} took longer than {seconds:g} s") from exc
    except SoarError:
        raise
    except Exception as exc:
        # Whoever chooses what is read chooses what it breaks: here it costs its own question, and nothing beside it.
        LOG.exception("%s: what came back is more than we can read", what)
        raise Unforeseen(f"{what}: what came back is more than we can read ({type(exc).__name__})") from exc


async def listened(capture: Capture, world: World, sink: Sink, what: str) -> None:
    """Have a capture write into a sink; its time-out counts the source's silence, and not how much there is.

    Args:
        capture: what collects.
        world: what it may reach.
        sink: where it writes; the time that takes is ours.
        what: for messages.

    Raises:
        SoarError: as for `within`; what was written by then is in the sink.
    """
    clock = asyncio.timeout(capture.silence)

    async def collect() -> None:
        try:
            async with clock:
                await capture.collect(world, _Heard(sink, clock, capture.silence))
        except TimeoutError as exc:
            if not clock.expired():
                raise
            raise Transient(f"{what}: nothing came for {capture.silence:g} s") from exc

    await within(capture.longest, collect(), what)


class _Heard(Sink):
    """A sink before which a clock begins anew with each chunk.

    Args:
        sink: where it goes.
        clock: runs out in silence.
        silence: seconds.
    """

    def __init__(self, sink: Sink, clock: asyncio.Timeout, silence: float) -> None:
        self._sink, self._clock, self._silence = sink, clock, silence

    @override
    def lacks(self, what: str) -> None:
        self._sink.lacks(what)

    @override
    @asynccontextmanager
    async def file(self, name: str, *, media_type: str, origin: str) -> AsyncIterator[Written]:
        async with self._sink.file(name, media_type=media_type, origin=origin) as file:
            yield _HeardFile(file, self.heard)

    @asynccontextmanager
    async def heard(self) -> AsyncIterator[None]:
        """Hold the clock while something that came is put away, and begin anew."""
        if self._clock.expired():
            # It ran out while the source was heard: the cancellation is on its way.
            yield
            return
        self._clock.reschedule(None)
        try:
            yield
        finally:
            self._clock.reschedule(asyncio.get_running_loop().time() + self._silence)


class _HeardFile(Written):
    def __init__(self, file: Written, heard: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._file, self._heard = file, heard

    @override
    async def write(self, chunk: bytes) -> None:
        if chunk:
            async with self._heard():
                await self._file.write(chunk)


def action_of(case: Case, plan: Plan) -> type[Action]:
    """Return the class that writes and verifies a plan: a step may have planned what another, wider action does."""
    found = case.parts.steps[plan.action]
    if not issubclass(found, Action):
        raise TypeError(f"{plan.action} is no action")
    return found


def build(case: Case, name: str, params: Parameters) -> Any:  # noqa: ANN401  # an Action, a Capture or a Check, by name
    """Return the step that a name and its parameters mean.

    Raises:
        Misconfigured: if there is none of that name, or it takes other parameters.
    """
    kind = case.parts.steps.get(name)
    if kind is None:
        raise Misconfigured(f"no action, capture or check is called {name!r}")
    try:
        return kind.model_validate(params.of(kind))
    except ValidationError as exc:
        raise Misconfigured(f"{name} does not take these parameters: {exc.errors(include_url=False)}") from exc


def unknown(subject: str, exc: SoarError) -> Verdict:
    """Return the verdict of a question that broke off."""
    finding = Finding(
        check="probe",
        subject=subject[:500],
        asked_as="mcp-soar",
        expected="an answer",
        observed=str(exc)[:2000],
        answer=Answer.UNKNOWN,
    )
    return Verdict(answer=Answer.UNKNOWN, findings=(finding,))
