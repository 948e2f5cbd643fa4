"""What is said of every class: in README, in `playbooks list`, and by triage; and that none is left with nothing."""

import pytest

from flows.cli.work import classes
from flows.cli.work.classes import ClassRow
from flows.pages.runs import flow_name
from playbooks import measured
from playbooks.estate.inventory import Environment
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Policy
from playbooks.gate.rules import Mode, Rule
from playbooks.playbook import OF_TASKS, When, shipped
from playbooks.record.incident import EntityKind
from playbooks.taxonomy import IncidentClass
from tests.contract import measuring

SHIPPED = Policy(version=1)
ROWS = {row.incident_class: row for row in classes.rows(shipped(), SHIPPED, measured.load())}


def test_readmes_table_is_what_ships() -> None:
    assert measuring.README.read_text(encoding="utf-8") == measuring.written(), (
        "run: python -m tests.contract.measuring"
    )


def test_every_class_is_there_and_each_leaves_a_person_something_to_do() -> None:
    assert set(ROWS) == set(IncidentClass) - {IncidentClass.UNCLASSIFIED}
    for name, row in ROWS.items():
        assert row.cuts or row.by_hand, f"{name}: nobody can do anything"
        assert (row.playbook is None) == (not row.cuts)


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_nothing_is_automatic_that_reaches_further_than_one_object_or_never_comes_back(row: ClassRow) -> None:
    for cut in row.cuts:
        if cut.automatic:
            assert not cut.final
            # One token on a list of those that are refused comes back; one that is revoked never does.
            assert cut.kind in {EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE, EntityKind.TOKEN}
            assert shipped()[row.incident_class].confirm, "nothing of our own could ever confirm it"


def test_the_policy_decides_what_is_automatic() -> None:
    nobody = Policy(version=1, classes={})
    assert not any(cut.automatic for row in classes.rows(shipped(), nobody, None) for cut in row.cuts)
    wide = Policy(version=1, classes=dict.fromkeys(IncidentClass, Mode.AUTOMATIC), automatic_up_to=Radius.SERVER)
    found = {row.incident_class: row for row in classes.rows(shipped(), wide, None)}
    assert found[IncidentClass.SERVER_COMPROMISE].automatic == (
        "server, server's network, server's pods, server's rights, once two facts agree"
    )
    tokens = [cut for row in found.values() for cut in row.cuts if cut.kind is EntityKind.TOKEN]
    assert {cut.final for cut in tokens} == {True, False}
    assert not any(cut.automatic for cut in tokens if cut.final), "it never comes back"


def test_what_depends_on_the_server_is_said_to_be_so() -> None:
    dev = Rule(environment=(Environment.DEV,), mode=Mode.AUTOMATIC)
    prod = Rule(environment=(Environment.PROD,), mode=Mode.APPROVE)
    poisoning = Rule(classes=(IncidentClass.TOOL_POISONING,), mode=Mode.AUTOMATIC)
    for rules, automatic in (
        ((dev,), "tool (subject to rule 1 of policy.yaml), once two facts agree"),
        ((prod, poisoning), "tool (subject to rule 1 of policy.yaml), once two facts agree"),
        ((dev, poisoning), "tool, once two facts agree"),
        ((prod,), "nothing"),
        ((dev, prod, poisoning), "tool (subject to rules 1, 2 of policy.yaml), once two facts agree"),
    ):
        rows = classes.rows(shipped(), Policy(version=1, rules=rules), None)
        (row,) = (row for row in rows if row.incident_class is IncidentClass.TOOL_POISONING)
        assert row.automatic == automatic


def test_each_condition_of_a_cut_has_its_words() -> None:
    assert set(classes.ONLY) == set(When) - OF_TASKS


def test_each_class_is_a_flow_of_its_own_name() -> None:
    names = {flow_name(one) for one in IncidentClass}
    assert len(names) == len(IncidentClass)
