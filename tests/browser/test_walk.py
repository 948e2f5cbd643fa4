"""An incident in Prefect's UI as a responder goes through it: read, answer, see it contained, give it back."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import FloatRect, Page, expect

from flows.hand_in import INBOX
from flows.pages import trend
from flows.report.picture import Contained
from integrations.channels.ways import Channels
from integrations.signing import SigningKey
from playbooks.people.contacts import Contact, Contacts, OnCall
from playbooks.people.request import SignedRequest, Verb, draft, sign
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.strict import canonical, now
from tests.browser.reloading import PATIENCE, again_until, put_away
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert
from tests.lab.prefect import PrefectServer, reporting
from tests.lab.workers import deployed, worker

pytestmark = [pytest.mark.slow, pytest.mark.system("contextforge"), pytest.mark.timeout(900)]

TITLE = "도구 설명이 바뀜 ![x](https://evil.example/x.png) <img src=x onerror=alert(1)> | cell"
"""A title of an attacker's choice, with Korean in it."""

SHOWN = "configuration event on weather created high alert MCP tool definition changed."
"""What stands there in the pictures: the demonstration's alert."""


MENU = 256
"""Pixels that the UI's menu takes on the left."""


def base(prefect: PrefectServer) -> str:
    return prefect.api.removesuffix("/api")


async def until_shown(page: Page, url: str, text: str, *, newest: bool = False) -> None:
    """Load a page again and again until it shows a text: artifacts are published a few seconds later.

    Args:
        page: the browser's.
        url: of the page; of an artifact's key, to see its newest version.
        text: what it shows.
        newest: follow the link to the newest version.
    """

    async def walk() -> None:
        await page.goto(url)
        if newest:
            await page.locator("a[href*='/artifacts/artifact/']").first.click(timeout=5000)
        await expect(page.locator("body")).to_contain_text(text, timeout=5000)

    await again_until(walk)


async def photograph(page: Page, pictures: Path | None, name: str) -> None:
    """Keep a picture of what the page shows, if somebody wants it."""
    if pictures is not None:
        await page.wait_for_timeout(1000)  # what is faded in
        # Without the menu: what it is about, and small enough to be kept with the code.
        size = page.viewport_size or {"width": 0, "height": 0}
        clip = FloatRect(x=MENU, y=0, width=size["width"] - MENU, height=size["height"])
        await page.screenshot(path=pictures / f"{name}.png", clip=clip)


async def fill(page: Page, fields: dict[str, str]) -> None:
    """Fill a deployment's form in; the one without a label takes JSON."""
    for number, (label, value) in enumerate(fields.items()):
        if label:
            # The form's labels are not tied to its fields, which stand in the same order.
            await expect(page.get_by_text(label, exact=True).first).to_be_visible()
            await page.locator("textarea").filter(visible=True).nth(number).fill(value)
        else:
            await page.locator("[contenteditable=true], textarea").filter(visible=True).first.click()
            await page.keyboard.insert_text(value)


async def submits(
    page: Page, prefect: PrefectServer, deployment: str, fields: dict[str, str], pictures: Path | None
) -> None:
    """Fill a deployment's form in and submit it, until the server has taken it."""

    async def walk() -> None:
        await page.goto(f"{base(prefect)}/deployments/deployment/{deployment}/run")
        await fill(page, fields)
        if "" not in fields:
            await photograph(page, pictures, "answer")
        # The form is drawn more than once, and a click on the first is lost.
        async with page.expect_request("**/create_flow_run") as asked:
            await page.get_by_role("button", name="Submit").click()
        answer = await (await asked.value).response()
        assert answer is not None
        assert answer.ok

    await again_until(walk)
    await put_away(page)


async def carried_out(prefect: PrefectServer, deployment: str) -> None:
    """Wait until a worker has carried out what a deployment's form asked for: a process of its own, begun by a poll."""
    async with asyncio.timeout(PATIENCE):
        while True:
            runs = await asyncio.to_thread(prefect.ask, "/flow_runs/filter")
            # A busy server answers with an error, here its number.
            mine = [run for run in runs if run["deployment_id"] == deployment] if isinstance(runs, list) else []
            if any(run["state_type"] == "COMPLETED" for run in mine):
                return
            await asyncio.sleep(0.5)


def signed(home: House, who: str, verb: Verb, subject: str, digest: str | None = None) -> str:
    """Return what `mcp-soar … --print` prints."""
    request = draft(actor=who, verb=verb, subject=subject, at=now(), digest=digest)
    return sign(request, home.keys[who].sign).model_dump_json()


async def code_of(home: House, folder: Path, answer: str) -> str:
    """Return the one-time code that a person was sent."""
    found: list[str] = []

    async def sent() -> bool:
        texts = await asyncio.to_thread(lambda: [path.read_text() for path in sorted(folder.glob("*.txt"))])
        wanted = re.compile(rf"^{answer} \(.*\):\n(\w{{5}}-\w{{5}})$", re.IGNORECASE | re.MULTILINE)
        found[:] = [code for text in texts for code in wanted.findall(text)]
        return bool(found)

    await home.until(sent, f"a code to {answer} was sent")
    return found[-1]


async def test_a_responder_reads_answers_and_gives_back(
    page: Page, prefect: PrefectServer, lab: Lab, tmp_path: Path, pictures: Path | None
) -> None:
    title = SHOWN if pictures else TITLE
    lab.victim.poison()
    contacts = Contacts(contacts={"bob": Contact(file=str(tmp_path / "bob"))}, on_call=(OnCall(contact="bob"),))
    deployments = await deployed(prefect, tmp_path)
    # The gateway itself: what a proxy cannot pass on stood in the picture as not proven.
    async with scenes.installation(
        lab,
        tmp_path,
        watch_every=30.0,
        inventory=lab.site.through(lab.gateway.url).inventory,
        contacts=contacts,
        channels=Channels(contacts),
    ) as home:
        inbox = {INBOX: f"sqlite:///{home.folder / 'journal.db'}"}
        async with reporting(home):
            with worker(prefect, tmp_path, "requests", inbox):
                await home.receive(alert(lab.site.server_id, "get_weather", title=title), source="unsigned")
                incident = await home.reaches(Status.AWAITING_APPROVAL)
                await home.settled(incident.id)
                await finds_the_run(page, prefect, incident, lab.site.server_id, pictures)
                await reads_it(page, prefect, incident, title)
                await approves(page, prefect, home, incident, deployments["answer"]["id"], tmp_path, pictures)
                incident = await home.reaches(Status.CONTAINED)
                await until_shown(
                    page, f"{base(prefect)}/artifacts/key/{incident.id}", f"{incident.id}: contained", newest=True
                )
                await photograph(page, pictures, "incident")
                lab.victim.behave()
                wish = {"": signed(home, "ann", Verb.RELEASE, incident.id)}
                await submits(page, prefect, deployments["release"]["id"], wish, None)
                await carried_out(prefect, deployments["release"]["id"])
                await home.given_back(incident.id)
                await until_shown(
                    page, f"{base(prefect)}/artifacts/key/{incident.id}", "released cut-tool", newest=True
                )


async def test_what_print_prints_is_pasted_as_it_is(page: Page, prefect: PrefectServer, tmp_path: Path) -> None:
    deployments = await deployed(prefect, tmp_path)
    request = draft(actor="ann", verb=Verb.RELEASE, subject="inc-2026-000001", at=now(), reason="다시 깨끗함 `x`")
    signed = sign(request, SigningKey.generate(tmp_path / "ann.key").sign)
    printed = canonical(signed).decode()
    for name in ("release", "hand-in"):
        await submits(page, prefect, deployments[name]["id"], {"": printed}, None)
        runs = prefect.ask("/flow_runs/filter")
        (given,) = [run["parameters"] for run in runs if run["deployment_id"] == deployments[name]["id"]]
        assert SignedRequest.model_validate(given["request"]) == signed
    said = {"incident": "inc-2026-000001", "plan": "3fa9c2d41b07", "person": "bob", "code": "7K3M2-QX9AB"}
    fields = dict(zip(("Incident", "Plan", "Person", "One-time code"), said.values(), strict=True))
    # No picture of it: that of this form is of a plan that there is.
    await submits(page, prefect, deployments["answer"]["id"], fields, None)
    runs = prefect.ask("/flow_runs/filter")
    assert {"answer": said} in [run["parameters"] for run in runs]


async def test_the_trend_is_a_picture(page: Page, prefect: PrefectServer, pictures: Path | None) -> None:
    begin = datetime(2026, 11, 2, 9, tzinfo=UTC)
    seconds = (0.26, 0.24, 0.31, 4.2, 0.27, None, 0.25, 0.3, 71.0, 0.28, 0.26, 0.55, 0.24, 0.29)
    points = [
        Contained(f"inc-2026-{number:06}", begin + timedelta(hours=31 * number), took, 60.0)
        for number, took in enumerate(seconds, 1)
    ]
    shown = trend.page(points, ())
    artifact = {"key": shown.key, "type": "markdown", "description": shown.description, "data": shown.data}
    assert isinstance(prefect.ask("/artifacts/", artifact), dict)
    await until_shown(page, f"{base(prefect)}/artifacts/key/{shown.key}", "median 280 ms", newest=True)
    image = page.locator("img[src^='data:image/svg+xml']")
    assert await image.evaluate("picture => picture.decode().then(() => picture.naturalWidth > 300)")
    await photograph(page, pictures, "trend")


async def finds_the_run(
    page: Page, prefect: PrefectServer, incident: Incident, server: str, pictures: Path | None
) -> None:
    """Find the run by the incident's name, and see its steps and artifacts."""
    name = f"{incident.id} {server}"

    async def run() -> None:
        await page.goto(f"{base(prefect)}/runs")
        await expect(page.locator("body")).to_contain_text(name)
        await page.get_by_placeholder("Search by flow run name").filter(visible=True).fill(incident.id)
        await page.get_by_role("link", name=name).first.click()
        # The list shows the run's state as well.
        await page.wait_for_url("**/flow-run/**")
        await expect(page.get_by_text("AwaitingApproval").first).to_be_visible()

    async def steps() -> None:
        await page.reload()
        await page.get_by_text("Task Runs", exact=True).first.click()
        await expect(page.get_by_text("capture-definitions", exact=False).first).to_be_visible()

    async def plans() -> None:
        await page.reload()
        await page.get_by_text("Artifacts", exact=True).first.click()
        await page.get_by_text(f"{incident.id}-plan", exact=True).first.click()
        await expect(page.locator("body")).to_contain_text(f"Plans of {incident.id}")

    # A page of a run that waits does not ask again, and its steps may be told later than its state.
    await again_until(run)
    await again_until(steps)
    await photograph(page, pictures, "run")
    await again_until(plans)


async def reads_it(page: Page, prefect: PrefectServer, incident: Incident, title: str) -> None:
    """Read what is asked and why, and see the timeline; nothing that an attacker wrote is more than text."""
    await until_shown(page, f"{base(prefect)}/artifacts/key/{incident.id}", "It asks for a decision", newest=True)
    (step,) = incident.proposals
    assert step.plan is not None
    for text in (step.plan.digest[7:19], "no alert of it came from an authenticated source", title[:9]):
        await expect(page.locator("body")).to_contain_text(text)
    image = page.locator("img[src^='data:image/svg+xml']")
    await expect(image).to_be_visible()
    assert await image.evaluate("picture => picture.complete && picture.naturalWidth > 300")
    assert await page.locator("img[src*='evil']").count() == 0
    assert await page.locator("a[href*='evil']").count() == 0


async def approves(  # noqa: PLR0917  # the form, and what is put into it
    page: Page,
    prefect: PrefectServer,
    home: House,
    incident: Incident,
    deployment: str,
    folder: Path,
    pictures: Path | None,
) -> None:
    """Open the form, answer with a one-time code, and read what became of it."""
    (step,) = incident.proposals
    assert step.plan is not None
    code = await code_of(home, folder / "bob", "approve")
    fields = {"Incident": incident.id, "Plan": step.plan.digest[7:19], "Person": "bob", "One-time code": code}
    await submits(page, prefect, deployment, fields, pictures)
    await carried_out(prefect, deployment)
