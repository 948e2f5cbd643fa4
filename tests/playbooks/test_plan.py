"""A plan and its digest: what people approve is the plan that is carried out."""

import itertools
import json

import pytest

from playbooks.gate.plan import Change, Plan, Radius, Target
from tests.lab import stories


def test_a_plan_made_of_another_one_has_a_digest_of_its_own() -> None:
    plan = stories.plan()
    assert plan.digest, "looked at, it is kept"
    for other in (plan.inverse(), plan.model_copy(update={"params": {"accepts": "x"}})):
        assert other.digest == Plan.model_validate(other.model_dump(mode="json")).digest
        assert other.digest != plan.digest


def test_what_is_so_already_is_no_change_to_show() -> None:
    plan = stories.plan()
    (change,) = plan.changes
    so_already = plan.model_copy(update={"changes": (change.model_copy(update={"before": False}),)})
    assert (so_already.pending, so_already.undone) == ((), ())
    assert [str(one) for one in plan.undone] == ["tool forecast of weather: enabled false → true"]


FIRST = {
    Radius.TOKEN: "sha256:24bd1c4fef0f90bd88ed46cb75ecb92e718812844665de6b8dc672cdabf38c6d",
    Radius.TOOL: "sha256:f1eeca024e9f3bd2c2384c7e588bcb2b5f00ad39bcdb56f495df43c947c48062",
    Radius.PRINCIPAL: "sha256:2654aec850804387d73b44fef9909f8b92868fac99cfb773948fa6010676cbe6",
    Radius.SERVER: "sha256:646ce83b5aad00521b07a5531238a55a46d1a3e48fe39c29caba5e75daabaf40",
    Radius.FLEET: "sha256:a84f2984e9702688524a35a58acae7265ac3f67a177bd8fc58f7f0a2076a056e",
}
"""What people approved when the five radii were numbered 1 to 5."""


@pytest.mark.parametrize("radius", FIRST, ids=lambda radius: radius.name)
def test_what_was_approved_under_the_old_numbers_still_verifies(radius: Radius) -> None:
    target = Target(system="gateway/main", kind="tool", id="t1", name="get", server="weather")
    change = Change(target=target, field="enabled", before=True, after=False)
    made = Plan(
        action="gateway.disable_tool",
        params={"tool": "t1"},
        summary="Disable tool get of weather",
        changes=(change,),
        radius=radius,
    )
    assert made.digest == FIRST[radius]
    old = json.loads(made.model_dump_json())
    assert old["radius"] == list(FIRST).index(radius) + 1
    read = Plan.model_validate(old)
    assert (read.radius, read.digest) == (radius, FIRST[radius])


def test_between_two_radii_there_is_room_and_no_two_are_written_alike() -> None:
    ordered = sorted(Radius)
    assert ordered == list(FIRST), "from the narrowest to the widest"
    assert all(wide - narrow > 10 for narrow, wide in itertools.pairwise(ordered))
    assert [Radius(radius.written) for radius in ordered] == ordered
    assert [Radius(radius.value) for radius in ordered] == ordered
    with pytest.raises(ValueError, match="is not a valid Radius"):
        Radius(6)
