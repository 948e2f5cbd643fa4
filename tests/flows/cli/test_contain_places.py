"""`contain` acts wherever what is named has a place: each step with its own diff and gate, or at one system alone."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.integrations.systems.kubernetes.pretended import Pretended, serving

CONTAIN = ("contain", "server", "weather", "--reason", "odd", "--as", "kim", "--yes")
AT_BOTH = "{main: {id: g-1}, prod: {namespace: mcp, name: weather}}"
NETWORK, ENTRY = "isolate: chosen-network@prod:weather", "cut: chosen-server@weather"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Give the address of a pretended cluster that answers meanwhile."""
    at: list[str] = []
    ready, over = threading.Event(), threading.Event()

    async def work() -> None:
        async with serving(Pretended()) as url:
            at.append(url)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    assert ready.wait(60)
    yield at[0]
    over.set()
    thread.join()


def clustered(site: Installation, url: str, *, placed: bool = True) -> Installation:
    """Have the installation know a cluster, with the server on it or not."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret-of-ours"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file = site.folder / "secrets" / "kubeconfig"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    text = world.INVENTORY.replace(
        "servers:\n", "  prod: {kind: kubernetes, kubeconfig: {file: secrets/kubeconfig}}\nservers:\n", 1
    )
    text = text.replace("{main: {id: g-1}}", AT_BOTH) if placed else text
    (site.folder / "inventory.yaml").write_text(text, encoding="utf-8")
    return site


def said(site: Installation, *words: str) -> str:
    """Return what a command that is to succeed says, in one line."""
    result = site.run(*words, "--no-wait")
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def test_a_server_is_planned_at_its_gateway_and_on_its_cluster_each_with_its_own_gate(
    site: Installation, cluster: str
) -> None:
    clustered(site, cluster)
    with site.responder():
        shown = said(site, *CONTAIN)
    assert ENTRY in shown
    assert NETWORK in shown
    assert "Quarantine deployment mcp/weather of weather at cluster prod" in shown
    assert "+ deny-policy" in shown
    assert "gate needs_approval" in shown.partition(NETWORK)[2], "nothing of a server is done on one person's word"


@pytest.mark.parametrize(("only", "planned"), [("main", ENTRY), ("prod", NETWORK)])
def test_only_narrows_it_to_one_system_before_and_after_it_is_signed(
    site: Installation, cluster: str, only: str, planned: str
) -> None:
    clustered(site, cluster)
    with site.responder():
        shown = said(site, *CONTAIN, "--only", only)
        assert [one for one in (ENTRY, NETWORK) if one in shown] == [planned]
        while site.run("incident", "1").exit_code:
            time.sleep(0.05)
        assert site.json("incident", "1")["chosen"] == [f"server weather at {only} only (kim)"]
        again = site.error(*CONTAIN, "--only", only, code=4)
        assert f"{ID} is open about that already" in again["message"], "narrowed as it was"
        wider = said(site, *CONTAIN)
    assert "is open about server weather as unclassified: it is contained there" in wider
    assert [one for one in (ENTRY, NETWORK) if one in wider] == [ENTRY, NETWORK]


def test_a_system_where_it_has_no_place_is_refused_with_those_where_it_has_one(
    site: Installation, cluster: str
) -> None:
    clustered(site, cluster).append(world.opened())
    error = site.error(*CONTAIN, "--only", "staging", code=4)
    assert error["message"] == "server weather has no place at staging: it has one at main, prod"


@pytest.mark.parametrize("known", [True, False])
def test_that_it_has_no_place_is_said_only_where_there_is_such_a_system(
    site: Installation, cluster: str, *, known: bool
) -> None:
    if known:
        clustered(site, cluster, placed=False)
    with site.responder():
        shown = said(site, *CONTAIN)
    assert shown.count("server weather has no place in Kubernetes: nothing is done there") == int(known)
    assert ("Kubernetes" in shown) is known


def test_what_cannot_be_shut_off_there_is_said_and_the_rest_is_contained_all_the_same(
    site: Installation, cluster: str
) -> None:
    clustered(site, cluster)
    file = site.folder / "inventory.yaml"
    file.write_text(file.read_text().replace("name: weather}}", "name: gone}}"))
    site.append(world.opened())
    refused = site.error(*CONTAIN, "--only", "prod", code=4)
    assert "it cannot be contained, and nothing was handed in: " in refused["message"]
    with site.responder():
        shown = said(site, *CONTAIN)
    assert "a part of it cannot be contained: " in shown
    assert ENTRY in shown
