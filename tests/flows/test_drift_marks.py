"""Our own comparison says what a definition brought in, so that the same order at two servers is one campaign."""

from pathlib import Path

from flows.checks import drift
from flows.engine.intake import intake
from integrations.protocol.pins import definition
from playbooks.estate.pins import PinKind
from playbooks.record.check import Found
from playbooks.record.incident import MarkKind
from tests.flows.engine.test_campaigns import CAM, TEXT, estate
from tests.flows.engine.test_new_at_server import reported

APPROVED = {"name": "forecast", "description": "Says what the weather will be.", "inputSchema": {"type": "object"}}


def found(server: str, description: str) -> Found:
    """Return what the comparison finds of a tool that has another description now."""
    offered = definition(PinKind.TOOL, {**APPROVED, "description": description})
    brings = drift._brings(APPROVED, offered.fields)  # noqa: SLF001  # what is tried here
    return drift.differs(server, PinKind.TOOL, "forecast", "changed", offered.digest, diff="+", brings=brings)


def test_what_is_brought_in_is_said_and_what_was_approved_is_not() -> None:
    assert found("s0", f"{APPROVED['description']} {TEXT}").marks == ((MarkKind.TEXT, TEXT),)
    brings = found("s0", f"{TEXT} It is https://evil.example/c.").marks
    assert brings[0] == (MarkKind.INDICATOR, "https://evil.example/c")
    assert found("s0", str(APPROVED["description"])).marks == ()


async def test_the_same_order_in_two_servers_definitions_is_a_campaign(tmp_path: Path) -> None:
    bodies = reported([found("s0", f"Says it. {TEXT}"), found("s1", f"{TEXT}\nOtherwise as it was.")])
    async with estate(tmp_path) as made:
        for body in bodies:
            await made.receive(body, "drift")
        await intake(made.parts)
        first, second = await made.incidents()
        assert list(first.campaigns) == list(second.campaigns) == [CAM]
        assert str(first.campaigns[CAM].mark).startswith("injected text sha256:")
