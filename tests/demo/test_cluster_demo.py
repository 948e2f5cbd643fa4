"""The demonstration on a cluster, as people run it: on one of theirs, of which nothing of it is left afterwards."""

import os
import subprocess
import sys
from contextlib import ExitStack
from io import StringIO
from pathlib import Path

import pytest

from flows.demo import cluster as shown
from flows.demo.screen import Screen
from flows.demo.stage import Failed
from tests.cluster.cluster import Kubernetes

ROOT = Path(__file__).resolve().parents[2]


def played(tmp_path: Path, *options: str, **env: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.demo", "--kubernetes", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    return done.returncode, done.stdout + done.stderr


def test_on_a_cluster_of_somebodys_it_runs_nothing_that_they_did_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    ground = shown._ground(Screen(StringIO()), tmp_path, "busybox:latest")  # noqa: SLF001  # what is asked first
    with pytest.raises(Failed, match=r"--image registry\.example\.com/busybox@sha256:"), ground:
        pass


def test_without_what_a_cluster_of_our_own_takes_it_says_what_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, fake = Screen(StringIO()), tmp_path / "tests" / "cluster"
    monkeypatch.setattr(shown, "ROOT", tmp_path)
    (tmp_path / "one").mkdir()
    with ExitStack() as stack, pytest.raises(Failed, match="in a checkout, or say KUBECONFIG"):
        shown._own(stack, screen, tmp_path / "one")  # noqa: SLF001  # what starts it
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "running.py").write_text("import sys\nsys.exit('no cluster of our own: a node takes root')\n")
    (tmp_path / "two").mkdir()
    with (
        ExitStack() as stack,
        pytest.raises(Failed, match=r"no cluster of our own: a node takes root\. It takes Linux"),
    ):
        shown._own(stack, screen, tmp_path / "two")  # noqa: SLF001


@pytest.mark.slow
@pytest.mark.system("contextforge")
@pytest.mark.timeout(1300)
def test_it_plays_on_a_cluster_and_leaves_nothing_there(cluster: Kubernetes, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(cluster.kubeconfig())

    def names() -> set[str]:
        return {one["metadata"]["name"] for one in cluster.ask("GET", "/api/v1/namespaces")["items"]}

    before = names()
    code, said = played(tmp_path, "--image", cluster.probe, KUBECONFIG=str(kubeconfig))
    assert code == 0, said
    for words in (
        "nobody has agreed yet",
        "verified quarantine@cluster:weather: not_established",
        "verified end-pods@cluster:weather: established",
        "the cluster has no pod of the server any more",
        "the evidence bundle verifies offline",
        "2 pods of the server are ready again",
        "Its namespaces are gone.",
        "It all held",
    ):
        assert words in said
    # Others' may still be going.
    assert names() <= before
