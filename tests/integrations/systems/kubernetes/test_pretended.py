"""What no real cluster can be brought to say at will, asked of a pretended one."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from integrations.systems.kubernetes import accounts, workload
from integrations.systems.kubernetes.accounts import RevokeTokens
from integrations.systems.kubernetes.admission import DenyImage
from integrations.systems.kubernetes.bindings import RemoveBindings
from integrations.systems.kubernetes.captures import CaptureWorkload
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.images import id_of, spelled
from playbooks.errors import Drifted, Refused, SoarError, Transient
from playbooks.gate.plan import Answer, Change, Plan, Radius, Target
from tests.contract import laws
from tests.integrations.systems.kubernetes.pretended import DEPLOYMENT, ME, RBAC, Pretended, pretended, serving
from tests.lab.exhibits import gathered

INTENT = RemoveBindings(server="weather")


@pytest.mark.parametrize("name", ["a?b", "#x", "?", "a#b", "a b", "system:reader"])
async def test_a_binding_is_taken_away_and_given_back_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    at, where = Pretended(), f"{RBAC}/clusterrolebindings/{name}"
    at.bound(where, ME, role=f"role {name}", kind="ClusterRole")
    at.bound(f"{RBAC}/clusterrolebindings/a", {**ME, "name": "other"})
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
        assert list(plan.changes[0].before) == [where]
        await laws.apply(RemoveBindings, plan, world)
        assert where not in at.objects
        assert (await RemoveBindings.verify(plan, world)).answer is Answer.ESTABLISHED
        assert ("GET", f"{RBAC}/clusterroles/role {name}") in at.asked
        await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), world)
        assert at.objects[where]["subjects"] == [ME]
        assert (await RemoveBindings.verify_released(plan, world)).answer is Answer.ESTABLISHED
    deleted = {path for method, path in at.asked if method == "DELETE"}
    assert deleted == {where}, "neither a whole collection nor another one"


@pytest.mark.parametrize("path", ["/api/v1/pods?x", "/api/v1/pods#x"])
async def test_a_path_that_holds_more_than_a_path_is_not_asked(tmp_path: Path, path: str) -> None:
    at = Pretended()
    async with pretended(at, tmp_path) as world:
        with pytest.raises(Refused):
            await world.reach(Api, "prod").request("DELETE", path)
    assert not at.asked


async def test_rights_in_other_namespaces_are_taken_away_too_and_asked_about_there(tmp_path: Path) -> None:
    at = Pretended()
    mine, other = (f"{RBAC}/namespaces/{namespace}/rolebindings/reader" for namespace in ("mcp", "bank"))
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    for where in (mine, other):
        at.bound(where, ME)
        at.objects[where.replace("rolebindings", "roles")] = {"rules": [rule]}

    def answers(_: str, path: str, body: Any) -> tuple[int, Any] | None:  # noqa: ANN401  # JSON
        if path.endswith("/subjectaccessreviews"):
            namespace = body["spec"]["resourceAttributes"]["namespace"]
            return 201, {"status": {"allowed": f"{RBAC}/namespaces/{namespace}/rolebindings/reader" in at.objects}}
        return None

    at.answers = answers
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
        assert "(rolebinding bank/reader, rolebinding mcp/reader taken away)" in plan.breaks
        (finding,) = (await RemoveBindings.verify(plan, world)).findings
        assert finding.answer is Answer.NOT_ESTABLISHED
        await laws.apply(RemoveBindings, plan, world)
        assert not {mine, other} & at.objects.keys()
        assert (await RemoveBindings.verify(plan, world)).answer is Answer.ESTABLISHED
        at.bound(other, ME)
        assert (await RemoveBindings.verify(plan, world)).answer is Answer.NOT_ESTABLISHED
        del at.objects[other]
        await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), world)
    assert {mine, other} <= at.objects.keys()


async def test_a_release_gives_nobody_else_rights_that_were_taken_from_them_meanwhile(tmp_path: Path) -> None:
    at, where = Pretended(), f"{RBAC}/namespaces/mcp/rolebindings/shared"
    at.bound(where, ME, {**ME, "name": "other"})
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
        await laws.apply(RemoveBindings, plan, world)
        del at.objects[where]
        (change,) = RemoveBindings.inverse(plan).changes
        await RemoveBindings.write(change, world, key="drill")
    assert at.objects[where]["subjects"] == [ME]


async def test_a_release_binds_no_other_role_than_was_taken_away_and_writes_nothing_then(tmp_path: Path) -> None:
    at = Pretended()
    first, second = (f"{RBAC}/namespaces/mcp/rolebindings/{name}" for name in ("a", "b"))
    at.bound(first, ME)
    at.bound(second, ME)
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
        await laws.apply(RemoveBindings, plan, world)
        at.bound(second, {**ME, "name": "other"}, role="cluster-admin", kind="ClusterRole")
        (change,) = RemoveBindings.inverse(plan).changes
        with pytest.raises(Drifted, match="rolebinding mcp/b binds another role"):
            await RemoveBindings.write(change, world, key="drill")
    assert first not in at.objects
    assert at.objects[second]["subjects"] == [{**ME, "name": "other"}]


async def test_nobody_is_asked_to_whom_an_answer_sends_us(tmp_path: Path) -> None:
    at, thief = Pretended(), Pretended()
    async with serving(thief) as at.elsewhere, pretended(at, tmp_path) as world:
        api = world.reach(Api, "prod")
        for ask in (api.who(), api.request("GET", DEPLOYMENT), api.request("POST", "/apis/x/v1/tokenreviews", body={})):
            with pytest.raises(Refused, match="307"):
                await ask
    assert at.asked
    assert not thief.asked


async def test_nothing_of_the_environment_goes_along_or_leads_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, thief = Pretended(), Pretended()
    (tmp_path / "netrc").write_text("default login eve password somebody-else's\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with pretended(at, tmp_path) as world:
        # A password beside the token is refused by the client itself: nothing would be asked any more.
        await world.reach(Api, "prod").who()
    monkeypatch.delenv("NETRC")
    async with serving(thief) as elsewhere, pretended(at, tmp_path) as world:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, elsewhere)
        await world.reach(Api, "prod").who()
    assert len(at.asked) == 2  # once each
    assert not thief.asked


async def test_a_refusal_is_none_of_ours_once_our_policy_is_not_there(tmp_path: Path) -> None:
    at, image = Pretended(), "registry.example/weather:1"
    target = Target(system="kubernetes/prod", kind="image", id=id_of(image), name=image, server="weather")
    change = Change(target=target, field="admitted", before=True, after=False)
    plan = Plan(action=DenyImage.name, params={}, summary="s", changes=(change,), radius=Radius.SERVER, breaks="b.")

    def answers(method: str, path: str, body: Any) -> tuple[int, Any] | None:  # noqa: ANN401  # JSON
        asked = method == "POST" and path.endswith("/pods") and body["spec"]["containers"][0]["image"]
        if asked and re.fullmatch(spelled(image), asked):
            return 403, {"message": f"ValidatingAdmissionPolicy '{target.id}' denied request"}
        return None

    at.answers = answers
    async with pretended(at, tmp_path) as world:
        (finding,) = (await DenyImage.verify(plan, world)).findings
        assert finding.answer is Answer.NOT_ESTABLISHED, finding
        await DenyImage.write(change, world, key="drill")
        (finding,) = (await DenyImage.verify(plan, world)).findings
        assert finding.answer is Answer.ESTABLISHED, finding


async def test_a_token_that_has_run_out_by_itself_proves_nothing_of_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, where = Pretended(), "/api/v1/namespaces/mcp/serviceaccounts/weather"
    at.objects[where] = {"metadata": {"name": "weather", "uid": "old", "resourceVersion": "1"}}

    def answers(_: str, path: str, body: Any) -> tuple[int, Any] | None:  # noqa: ANN401  # JSON
        # Nobody but whoever bears a token of the account that is there now is let in.
        if path.endswith("/token"):
            return 201, {"status": {"token": at.objects[where]["metadata"]["uid"]}}
        if path.endswith("/tokenreviews"):
            counts = body["spec"]["token"] == at.objects[where]["metadata"]["uid"]
            return 201, {"status": {"authenticated": counts}}
        return None

    async def lets_in(_: Api, token: str) -> bool:
        return bool(token == at.objects[where]["metadata"]["uid"])

    at.answers, now = answers, time.monotonic()
    monkeypatch.setattr(accounts, "_lets_in", lets_in)
    canaries: dict[object, object] = {}
    monkeypatch.setattr(accounts, "_CANARIES", canaries)
    async with pretended(at, tmp_path) as world:
        plan = await RevokeTokens(server="weather").plan(world)
        await laws.apply(RevokeTokens, plan, world)
        assert (await RevokeTokens.verify(plan, world)).tried
        monkeypatch.setattr(accounts, "time", SimpleNamespace(monotonic=lambda: now + 590))
        verdict = await RevokeTokens.verify(plan, world)
    assert verdict.answer is Answer.ESTABLISHED, "by the account's uid"
    assert not verdict.tried
    assert list(canaries) == [("kubernetes/prod", "old")], "another cluster may have that uid too"


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (lambda _: {"metadata": {"continue": "again"}, "items": []}, "the same page"),
        (lambda n: {"metadata": {"continue": str(n)}, "items": []}, "more than 3 pages"),
        (lambda n: {"metadata": {"continue": str(n)}, "items": [{"x": "y" * 3000}]}, "more than 5000 bytes"),
        (lambda _: {"metadata": {}, "items": "abc"}, "no list"),
    ],
)
async def test_a_list_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Callable[[int], Any], why: str
) -> None:
    at = Pretended()
    at.answers = lambda *_: (200, page(len(at.asked))) if len(at.asked) < 20 else (200, {"items": []})
    monkeypatch.setattr(workload, "_MOST_PAGES", 3, raising=False)
    monkeypatch.setattr(workload, "_MOST_BYTES", 5000, raising=False)
    async with pretended(at, tmp_path) as world:
        with pytest.raises(SoarError, match=why):
            await workload.listed(world.reach(Api, "prod"), "/api/v1/pods")


@pytest.mark.parametrize("written", ["index.docker.io/nginx:1.25", f"nginx:1.25@sha256:{'b' * 64}", "sha256:0123"])
async def test_whoever_else_the_policy_would_keep_out_is_counted_however_it_names_the_image(
    tmp_path: Path, written: str
) -> None:
    at = Pretended()
    at.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"] = [{"name": "main", "image": "nginx:1.25"}]
    metadata = {"name": "job-1", "namespace": "mcp", "uid": "uid of job-1", "labels": {}}
    init = [{"name": "first", "image": written}]
    at.objects["/api/v1/namespaces/mcp/pods/job-1"] = {"metadata": metadata, "spec": {"initContainers": init}}
    async with pretended(at, tmp_path) as world:
        plan = await DenyImage(server="weather").plan(world)
        assert plan.radius is Radius.FLEET
        assert "mcp/job-1 runs it too, and starts no new pod either" in plan.breaks
        init[0]["image"] = "nginx:1.26"
        assert (await DenyImage(server="weather").plan(world)).radius is Radius.SERVER


async def test_a_list_that_many_want_at_once_is_asked_for_twice_and_never_remembered(tmp_path: Path) -> None:
    at, pods = Pretended(), "/api/v1/namespaces/mcp/pods"
    async with pretended(at, tmp_path) as world:
        api = world.reach(Api, "prod")
        at.objects[f"{pods}/a"] = {"metadata": {"name": "a"}}
        found = await asyncio.gather(*(workload.listed(api, pods) for _ in range(20)))
        assert [[one["metadata"]["name"] for one in some] for some in found] == [["a"]] * 20
        assert len(at.asked) <= 2
        at.objects[f"{pods}/b"] = {"metadata": {"name": "b"}}
        assert len(await workload.listed(api, pods)) == 2
        at.answers = lambda *_: (500, {})
        for one in await asyncio.gather(*(workload.listed(api, pods) for _ in range(3)), return_exceptions=True):
            assert isinstance(one, Transient), "each is told"


async def test_a_log_is_kept_to_the_byte_and_whole_whatever_is_in_it_and_containers_of_one_name_are_two(
    tmp_path: Path,
) -> None:
    at, lines = Pretended(), b"2026-12-01T00:00:00Z {\"a\": 'b'} \xff\xfe\x00\r\n" * 5000
    container = {"name": "server", "image": "weather"}
    at.objects["/api/v1/namespaces/mcp/pods/weather-1"] = {
        "metadata": {"name": "weather-1", "uid": "uid-1", "labels": {"app": "weather"}},
        "spec": {"containers": [container, container]},
    }
    at.objects["/apis"] = {"groups": []}
    given = iter((lines, b"", lines[:-1], b"before"))
    at.answers = lambda _, path, __: (200, next(given)) if path.endswith("/log") else None
    async with pretended(at, tmp_path) as world:
        files = await gathered(CaptureWorkload(server="weather"), world)
    logs = {name: files[name] for name in files if name.endswith(".log")}
    assert logs == {
        "pod-1-1.log": lines,
        "pod-1-1-previous.log": b"",
        "pod-1-2.log": lines[:-1],
        "pod-1-2-previous.log": b"before",
    }
    assert files["not-available.txt"] == b"pod-1-1-previous.log (server of weather-1): it is empty\n"
