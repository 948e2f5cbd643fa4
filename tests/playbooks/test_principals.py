"""A principal stands where it stands, at a gateway or not: ours and protected by any of its places."""

from collections.abc import Collection, Mapping
from typing import Literal

import pytest
from typing_extensions import override

from integrations.registry import SYSTEMS
from playbooks.errors import Misconfigured, Refused
from playbooks.estate import naming
from playbooks.estate.gateway import Account
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import KINDS, KindModels, Place, SystemSettings
from playbooks.gate.plan import Change, Plan, Radius, Target
from playbooks.gate.policy import Facts, Outcome, decide
from playbooks.record.incident import Confidence, Entity, EntityKind, Severity
from playbooks.strict import Name, parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.lab.house import ROOMY


class Directory(SystemSettings):
    """Where people are known."""

    kind: Literal["directory"]
    our_user: Name

    @override
    def address(self) -> str:
        return "corp"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        return {"user": frozenset({self.our_user})}


class Badge(Place):
    """How a door knows somebody."""

    number: Name

    @override
    def objects(self) -> Mapping[str, Collection[str]]:
        return {"badge": (self.number,)}

    @override
    def known_by(self) -> Mapping[EntityKind, Collection[str]]:
        return {EntityKind.PRINCIPAL: (f"badge-{self.number}",)}


class Door(SystemSettings):
    """What badges open."""

    kind: Literal["door"]

    @override
    def address(self) -> str:
        return "front"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        return {"badge": frozenset()}


MODELS = {
    **SYSTEMS.context[KINDS],
    "directory": KindModels(Directory, None, Account),
    "door": KindModels(Door, None, Badge),
}
TEXT = """\
version: 1
systems:
  main:
    kind: contextforge
    url: http://127.0.0.1:9
    user: soar@example.com
    password: {env: P}
    canary: {principal: canary@example.com, token: {env: T}, url: http://127.0.0.1:9/mcp/}
    credential_ids: [t-9]
  corp: {kind: directory, our_user: u-soar}
  front: {kind: door}
principals:
  ann:
    title: Ann
    protected: true
    places: {corp: {user: u-ann, tokens: {phone: t-1}}, front: {number: "7"}}
  bob: {title: Bob, places: {main: {user: bob@example.com, tokens: {ci: t-2}}, front: {number: "8"}}}
  robot: {title: Ours, places: {corp: {user: U-SOAR, tokens: {own: t-3}}, front: {number: "9"}}}
  ghost: {title: Known nowhere}
"""


def read(text: str = TEXT) -> Inventory:
    return parse_yaml(Inventory, text, file="inventory.yaml", context={KINDS: MODELS})


@pytest.mark.parametrize(
    ("kind", "name", "who"),
    [
        ("principal", "u-ann", "ann"),
        ("principal", "badge-7", "ann"),
        ("principal", "BADGE-8", "bob"),
        ("principal", "bob@example.com", "bob"),
        ("principal", "ghost", "ghost"),
        ("token", "phone", "ann"),
        ("token", "t-2", "bob"),
    ],
)
def test_it_is_found_by_any_of_its_places(kind: str, name: str, who: str) -> None:
    thing = read().resolve(Entity(kind=EntityKind(kind), name=name))
    assert thing is not None
    assert thing.principal == who
    assert thing.gateway == ("main" if who == "bob" else None), "only who is known at a gateway is said to be"


def cut(system: str, kind: str, id_: str) -> Plan:
    target = Target(system=system, kind=kind, id=id_, name=id_)
    change = Change(target=target, field="on", before=True, after=False)
    return Plan(action="test.cut", params={}, summary=f"Cut {id_}", changes=(change,), radius=Radius.TOKEN)


def decided(plan: Plan) -> tuple[Outcome, str]:
    facts = Facts(
        incident_class=IncidentClass.TOOL_POISONING,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        authenticated=True,
        confirmed=True,
    )
    decision = decide(plan, ROOMY, facts, read(), ())
    return decision.outcome, " ".join(decision.reasons)


@pytest.mark.parametrize(
    ("system", "kind", "id_"),
    [("directory/corp", "user", "U-Ann"), ("directory/corp", "token", "t-1"), ("door/front", "badge", "7")],
)
def test_who_is_protected_is_so_at_every_place(system: str, kind: str, id_: str) -> None:
    assert "is protected" in decided(cut(system, kind, id_))[1]
    assert "is protected" not in decided(cut(system, kind, "other"))[1]
    assert "is protected" not in decided(cut("gateway/main", kind, id_))[1], "there it is somebody else's"


@pytest.mark.parametrize(
    ("system", "kind", "id_"),
    [
        ("directory/corp", "user", "u-soar"),
        ("directory/corp", "token", "t-3"),
        # Nothing but that it is the same principal's says so.
        ("door/front", "badge", "9"),
        ("gateway/main", "token", "t-9"),
        ("gateway/main", "user", "CANARY@example.com"),
    ],
)
def test_what_is_ours_is_so_at_every_place(system: str, kind: str, id_: str) -> None:
    assert decided(cut(system, kind, id_))[0] is Outcome.DENY
    assert decided(cut(system, kind, "8" if kind == "badge" else "other"))[0] is not Outcome.DENY, "that is Bob's"


def test_who_is_ours_is_never_chosen() -> None:
    for name in ("robot", "badge-9"):
        with pytest.raises(Refused, match="mcp-soar's own at directory corp"):
            naming.chosen(read(), [Entity(kind=EntityKind.PRINCIPAL, name=name)])
    with pytest.raises(Refused, match="the token t-3 is mcp-soar's own"):
        naming.chosen(read(), [Entity(kind=EntityKind.TOKEN, name="robot/own")])
    (thing,) = naming.chosen(read(), [Entity(kind=EntityKind.PRINCIPAL, name="ann")])
    assert thing.id == "ann"


@pytest.mark.parametrize(
    ("instead", "by", "says"),
    [
        (
            "corp: {user: u-ann",
            "crop: {user: u-ann",
            "principals.ann.places.crop: no system is called 'crop'; there is",
        ),
        (
            '{number: "8"}',
            '{count: "8"}',
            "principals.bob.places.front.count: is not a field here; a principal's place",
        ),
        (
            "user: u-ann, ",
            "",
            "principals.ann.places.corp.user: is missing; a principal's place on a directory has user",
        ),
        (
            "principals:",
            "servers:\n  one: {title: T, owner: o, environment: dev, places: {front: {}}}\nprincipals:",
            "servers.one.places.front: no server has a place on a door",
        ),
        ("kind: door", "kind: gate", "systems.front.kind: there is no kind of system 'gate'; there is contextforge"),
        (
            "tokens: {ci: t-2}}",
            "tokens: {ci: t-2}}, corp: {user: u-bob, tokens: {ci: t-5}}",
            "principals.bob.places: ci is a token of it in two places",
        ),
        ("kind: directory, our_user: u-soar", "kind: directory", "systems.corp.our_user: is missing"),
    ],
)
def test_what_no_system_knows_is_refused_with_what_there_is(instead: str, by: str, says: str) -> None:
    text = TEXT.replace(instead, by, 1)
    with pytest.raises(Misconfigured) as caught:
        read(text)
    assert says in str(caught.value), str(caught.value)
    # Where it is written, or what lacks it.
    line = text.splitlines()[(caught.value.line or 0) - 1]
    assert any(part in line for part in says.partition(":")[0].split(".")[1:])
    assert caught.value.file == "inventory.yaml"


def test_two_gateways_of_one_are_refused() -> None:
    main = TEXT[TEXT.index("  main:") : TEXT.index("  corp:")]
    text = TEXT.replace("  corp:", main.replace("main:", "edge:") + "  corp:", 1)
    text = text.replace(
        "places: {main: {user: bob@example.com", "places: {edge: {user: b}, main: {user: bob@example.com"
    )
    with pytest.raises(
        Misconfigured, match=r"principals.bob.places: edge and main are gateways.*one principal for each"
    ):
        read(text)
