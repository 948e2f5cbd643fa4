"""Decisions that race with news, in every order: a no stays a no until a person asks anew."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.engine.response import respond
from integrations.journal.store import Tx
from playbooks.gate.plan import Change, Plan, Radius
from playbooks.gate.policy import Lease, Release
from playbooks.people.request import Verb
from playbooks.record.incident import Phase
from playbooks.record.journal import Event, Parsed
from tests.lab import flags, scenes
from tests.lab.flags import NAMES, SetFlags
from tests.lab.house import ROOMY, House, alert

POLICY = ROOMY.model_copy(
    update={"release": Release(second_person_from=Radius.TOOL), "lease": Lease(put_backs=0)},
)
NEWS = ("nothing", "alert", "deny", "approve", "release", "respond", "undo", "rest")
REST = "rest"
"""What comes next comes when the engine has nothing left to do: where that is depends on no moment's number."""
SILENT = ("reading",)
"""Moments at which nothing happens: they come too often to be told apart."""


@dataclass
class Course:
    """One incident, and what is to happen to it while the engine works.

    Args:
        home: the installation.
        folder: the flags.
        news: what happens, in order; at each moment of the engine's one thing.
        incident: its id.
    """

    home: House
    folder: Path
    news: list[str]
    incident: str = ""

    async def happens(self, moment: str, _change: Change) -> None:
        if not self.incident or not self.news or self.news[0] == REST or moment in SILENT:
            return
        state = await self.home.incident(self.incident)
        possible = {"nothing", "alert", "respond", *(["release", "undo"] if state.leases else [])}
        if self.news[0] in possible | ({"deny", "approve"} if state.proposals else set()):
            await self.next()

    async def next(self) -> None:
        what = self.news.pop(0)
        if what == "nothing":
            return
        if what == "alert":
            await self.home.receive(alert("weather", "forecast"), source="second")
        elif what == "undo":
            (self.folder / "a.flag").write_text("on")
        elif what in {"release", "respond"}:
            await self.home.ask("ann", Verb(what), self.incident, reason="r")
        else:
            for step in (await self.home.incident(self.incident)).proposals:
                assert step.plan is not None
                await self.home.ask("bob", Verb(what), self.incident, digest=step.plan.digest, reason="r")
        await intake(self.home.parts)

    async def run(self) -> list[Parsed]:
        """Go through it to its end, and return what the journal says."""
        parts = self.home.parts
        for name in NAMES:
            (self.folder / f"{name}.flag").write_text("on")
        await self.home.receive(alert("weather", "forecast"))
        (opened,) = await intake(parts)
        self.incident = opened.state.id
        while True:
            await respond(parts, opened.claim, until=Phase.REVIEW, watching=True)
            while self.news and self.news[0] == REST:
                self.news.pop(0)
            if not self.news:
                break
            await self.next()
        await respond(parts, opened.claim, until=Phase.REVIEW, watching=True)
        entries = await scenes.entries(self.home, self.incident)
        await parts.journal.submit(self._forget)
        return entries

    async def _forget(self, tx: Tx) -> None:
        """Free what the next incident needs."""
        for hold in await tx.holds():
            await tx.drop_hold(hold.grip, hold.incident, hold.lease)
        await tx.unreserve(self.incident)
        await tx.append(f"{PREFIX}{self.incident}", [Event("closed", {"as": "resolved", "by": "ann", "reason": "r"})])
        await tx.close_stream(f"{PREFIX}{self.incident}")


def overridden(entries: list[Parsed]) -> list[str]:
    """Return what was done, or tried again, after somebody said no and before anybody asked for it anew."""
    asked: dict[str, str] = {}
    refused: set[str] = set()
    found: list[str] = []
    for entry in entries:
        body, instance = entry.body, str(entry.body.get("release", entry.body.get("instance", "")))
        if entry.kind == "proposed":
            asked[Plan.model_validate(body["plan"]).digest] = instance
        elif entry.kind == "decided" and body["verb"] == "deny":
            refused.add(asked[body["digest"]])
        elif entry.kind == "request" and body["accepted"] and body["verb"] in {"release", "respond"}:
            releases = {name for name in refused if name.startswith("release-")}
            refused -= releases if body["verb"] == "release" else refused - releases
        if entry.kind in {"proposed", "intended", "release_intended", "failed", "skipped"} and instance in refused:
            found.append(f"{entry.seq} {entry.kind} {instance}")
    return found


def test_no_order_of_news_overrides_a_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = flags.flags(tmp_path / "flags")
    book = flags.playbook(flags.step(folder), eradicate=[flags.healthy(folder)])
    seen: set[str] = set()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        home = runner.run(stack.enter_async_context(flags.installation(tmp_path, book, policy=POLICY)))

        @given(st.lists(st.sampled_from(NEWS), min_size=2, max_size=8))
        @settings(max_examples=12, deadline=None)
        @example(["nothing", "alert", "deny"])
        @example(["alert", "nothing", "undo", "nothing", "deny", "alert"])
        @example(["alert", "nothing", "nothing", "release", "nothing", "alert", "deny"])
        @example(["alert", "nothing", "nothing", "release", "nothing", "approve"])
        @example(["rest", "approve", "rest", "undo"])
        @example(["rest", "approve", "rest", "release", "rest", "approve"])
        @example(["rest", "approve", "rest", "release", "rest", "deny"])
        def kept(news: list[str]) -> None:
            course = Course(home, folder, list(news))
            monkeypatch.setattr(SetFlags, "happens", course.happens)
            entries = runner.run(course.run())
            seen.update(entry.kind for entry in entries)
            assert overridden(entries) == []

        try:
            kept()
        finally:
            runner.run(stack.aclose())
    # The courses reached what they are about.
    assert {"decided", "intended", "release_intended", "released", "lease_checked"} <= seen
