"""What is kept of a workload: the API server's own bytes, and of what there is none, why."""

import json
from datetime import datetime

from integrations.systems.kubernetes.captures import CaptureWorkload
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.lab.exhibits import gathered


async def test_objects_are_kept_as_the_api_server_sent_them(yard: Yard) -> None:
    files = await gathered(CaptureWorkload(server="weather"), yard.world)
    kept = json.loads(files["deployment.json"])
    assert kept["metadata"]["uid"] == yard.cluster.ask("GET", yard.path)["metadata"]["uid"]
    assert "managedFields" in kept["metadata"], "a model of ours would have dropped it"
    assert {pod["metadata"]["name"] for pod in json.loads(files["pods.json"])} == {
        pod["metadata"]["name"] for pod in yard.cluster.pods(yard.namespace)
    }
    assert {"serviceaccounts.json", "rolebindings.json"} <= set(files)
    assert {"replicasets.json", "services.json", "events.json", "networkpolicies.json"} <= set(files)


async def test_the_log_of_every_container_is_kept_and_what_there_is_none_of_has_its_reason(yard: Yard) -> None:
    files = await gathered(CaptureWorkload(server="weather"), yard.world)
    for name in ("pod-1-1.log", "pod-2-1.log"):
        (line,) = files[name].decode().splitlines()
        moment, _, text = line.partition(" ")
        assert text == "serving"
        assert datetime.fromisoformat(moment).tzinfo is not None
    said = files["not-available.txt"].decode().splitlines()
    assert [line.partition(" ")[0] for line in said] == ["pod-1-1-previous.log", "pod-2-1-previous.log"]
    assert all("(server of weather-" in line and "previous terminated container" in line for line in said), said
