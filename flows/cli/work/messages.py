"""`message test` and `message show`: what people would read, and whether it would reach them."""

import asyncio
import json
import shlex
from typing import TYPE_CHECKING

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, Usage
from flows.cli.work import records
from flows.reading import streams
from flows.service.settings import Configuration
from playbooks.errors import SoarError
from playbooks.estate import naming
from playbooks.people import duties, samples
from playbooks.people.briefing import Briefing, Topic, brief
from playbooks.people.contacts import Contact, Language, Way
from playbooks.people.message import Message
from playbooks.people.rendering import Output, markdown, render
from playbooks.strict import now

if TYPE_CHECKING:
    from integrations.channels.ways import Channels

_WITHIN = 20.0


def try_out(out: Out, config: Configuration, name: str) -> Exit:
    """Send a contact a test message by each of their ways."""
    contacts = config.contacts.contacts
    if name not in contacts:
        raise NotFound(f"{config.folder / 'contacts.yaml'} has no contact {name!r}; {naming.near(name, contacts)}")
    contact = contacts[name]
    with out.waiting(f"sending to {name}"):
        attempts = asyncio.run(_send(config, contact))
    out.document({"contact": name, "attempts": attempts})
    out.table(
        ("", "way", "what happened"),
        [("ok" if one["delivered"] else "FAIL", one["way"], one["detail"]) for one in attempts],
    )
    good = all(one["delivered"] for one in attempts)
    took = "taken; whether anybody reads it there, only they can say" if good else "not all of it went out"
    out.say(took, "good" if good else "bad")
    return Exit.OK if good else Exit.NO


async def _send(config: Configuration, contact: Contact) -> list[schema.Attempt]:
    said = render(samples.test(), contact.language, own=config.templates, words=config.systems.words)
    message = Message(
        incident="test",
        page=f"test-{now():%Y%m%d%H%M%S%f}",
        notice=Topic.TEST.value,
        urgent=False,
        subject=said.subject,
        text=said.text,
        html=said.html,
        blocks=said.blocks,
    )
    from integrations.channels.ways import Channels  # noqa: PLC0415  # what sends takes long to import

    channels = Channels(config.contacts)
    try:
        return [await _attempt(channels, contact, way, message) for way in contact.order]
    finally:
        await channels.aclose()


async def _attempt(channels: "Channels", contact: Contact, way: Way, message: Message) -> schema.Attempt:
    try:
        async with asyncio.timeout(_WITHIN):
            sent = await channels(contact, way).send(contact, message)
    except TimeoutError:
        return {"way": way.value, "delivered": False, "detail": f"no answer within {_WITHIN:g} s"}
    except SoarError as exc:
        return {"way": way.value, "delivered": False, "detail": str(exc)}
    return {"way": way.value, "delivered": True, "detail": sent.where}


def show(out: Out, config: Configuration, given: str, *, notice: str, language: str, shape: str) -> None:
    """Show what a message would say."""
    if notice not in set(Topic):
        raise Usage(f"there is no notice {notice!r}; there is {', '.join(Topic)}")
    briefing = asyncio.run(_briefing(config, given, Topic(notice)))
    # Each form takes a while to write.
    needed = tuple(Output) if out.as_json else (Output(shape),)
    in_, own, words = Language(language), config.templates, config.systems.words
    said = render(briefing, in_, own=own, words=words, forms=needed)
    marked = markdown(briefing, in_, own=own, words=words) if Output.MARKDOWN in needed else ""
    out.document(
        {
            "incident": briefing.incident,
            "notice": notice,
            "language": language,
            "subject": said.subject,
            "text": said.text,
            "html": said.html,
            "blocks": list(said.blocks),
            "markdown": marked,
        }
    )
    if said.loss:
        out.note(f"the shipped template speaks, yours does not work: {said.loss}")
    if shape == "slack":
        shown = json.dumps(list(said.blocks), ensure_ascii=False, indent=2)
    elif shape == "markdown":
        shown = marked
    else:
        shown = said.html if shape == "html" else f"{said.subject}\n\n{said.text}"
    for line in shown.splitlines():
        # What is copied is not broken at the terminal's edge; prose is, between words.
        if shape == "text" and not line.startswith("mcp-soar "):
            out.say(line)
        else:
            out.raw(line)


async def _briefing(config: Configuration, given: str, kind: Topic) -> Briefing:
    """Return what there is to say: of the last page of that kind, if there was one."""
    async with records.opened(config) as journal:
        state = await streams.load(journal, await streams.find(journal, given))
        head = await journal.head_latest()
        stops = [stop for stop in await journal.stops() if stop.scope in state.scopes]
    moment, inventory = now(), config.inventory
    return brief(
        state,
        inventory=inventory,
        at=moment,
        page=next((page for page in reversed(state.pages.values()) if page.kind == kind), None),
        kind=kind,
        stops=stops,
        clocks=duties.clocks(state, inventory, duties.load(), moment),
        witness=f"{head.n}:{head.hash.hex()[:16]}" if head else "",
        # Whoever reads it is at another terminal.
        line=lambda *words: shlex.join(["mcp-soar", *words, "--config", str(config.folder.resolve())]),
    )
