"""Our own names in a report: what is ours stands as it is, though whatever looks like an address is broken up. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from flows.report.document import Block, Document, Facts, Listing, Section, Table, Text, Warn
from playbooks.playbook import Playbook
from playbooks.record.state import Incident
from playbooks.text.escaping import bare, plain
from playbooks.text.own import FILES, kept, of_incident


def names(states: Iterable[Incident], playbooks: Iterable[Playbook | None], ours: Collection[str] = ()) -> set[str]:
    """Return what is called so by us: files, actions, captures and checks, servers, and who signed for something.

    Args:
        states: the incidents that are told of.
        playbooks: those that they go by; None for one that goes by none.
        ours: what the inventory calls so, from `playbooks.text.own`.
    """
    found = {*FILES, *ours}
    for playbook in filter(None, playbooks):
        steps = [*(step for _, step in playbook.steps()), *playbook.confirm]
        found |= {step.names for step in steps if step.names}
    for state in states:
        found |= of_incident(state)
    return found


def as_they_are(document: Document, ours: Iterable[str]) -> Document:
    """Return a document in which our own names are written as they are, and nothing else is touched.

    Args:
        document: what was made fit to be read: an address in it is none, as `example[.]com`.
        ours: our own names.
    """
    said = kept(frozenset(ours), plain, bare)

    def shown(block: Block) -> Block:
        if isinstance(block, Text | Warn):
            return replace(block, text=said(block.text))
        if isinstance(block, Listing):
            return replace(block, points=[said(point) for point in block.points])
        if isinstance(block, Facts):
            return replace(block, rows=[(name, said(value)) for name, value in block.rows])
        if isinstance(block, Table):
            return replace(block, rows=[[said(cell) for cell in row] for row in block.rows])
        return block

    def parts(sections: Iterable[Section]) -> list[Section]:
        return [Section(one.title, [shown(block) for block in one.blocks]) for one in sections]

    lead = [shown(block) for block in document.lead]
    return document._replace(lead=lead, short=parts(document.short), sections=parts(document.sections))
