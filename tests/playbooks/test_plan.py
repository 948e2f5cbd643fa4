"""A plan and its digest: what people approve is the plan that is carried out."""

from playbooks.plan import Plan
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
