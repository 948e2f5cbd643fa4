"""docs/connect-a-gateway.md, its lines run by a shell as they stand, against a real gateway on ports of its own."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.demo.contextforge import RunningGateway
from tests.flows.cli.test_import import fresh, words
from tests.flows.cli.world import Installation
from tests.lab.fixtures import unique_name

pytestmark = pytest.mark.system("contextforge")

__all__ = ["fresh"]
GUIDE = (Path(__file__).parents[3] / "docs" / "connect-a-gateway.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def followed(tmp_path: Path, gateway: RunningGateway) -> Iterator[tuple[str, str]]:
    """The guide's shell lines after the gateway's start; yields the names of its server and its user."""
    server, agent = unique_name("weather"), f"{unique_name('agent')}@example.com"
    folder = tmp_path / "gateway"
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o700)
    (folder / ".env").write_text(
        f"PLATFORM_ADMIN_PASSWORD={gateway.password}\nPLATFORM_ADMIN_EMAIL={gateway.user}\n", encoding="utf-8"
    )
    ports = f"export GATEWAY_PORT={urlsplit(gateway.url).port} SERVER_PORT={free_port()}\n"
    # Other tests share the gateway: names of our own, and a role that may be there already.
    lines = "".join(SHELL[2:]).replace('"weather", "url"', f'"{server}", "url"').replace("agent@example.com", agent)
    lines = lines.replace('"mcp-client"', f'"{unique_name("client")}"')
    bash = shutil.which("bash")
    assert bash
    script = f"set -euo pipefail\n{ports}{lines}\necho STARTED $!\n"
    done = subprocess.run(  # noqa: S603  # the guide's own lines
        [bash, "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )
    try:
        assert done.returncode == 0, done.stderr + done.stdout
        assert (folder / "agent.token").read_text().count(".") == 2, "a JWT"
        yield server, agent
    finally:
        for number in re.findall(r"STARTED (\d+)", done.stdout):
            subprocess.run(["/bin/kill", number], check=False)  # noqa: S603  # what the lines started


def test_the_guides_server_user_and_token_are_in_the_inventory_after_the_import(
    followed: tuple[str, str], fresh: Installation, gateway: RunningGateway
) -> None:
    server, agent = followed
    shown = fresh.run(*words(gateway), "--yes")
    assert shown.exit_code in {0, 1}, shown.output
    inventory = fresh.config.inventory
    (weather,) = [one for name, one in inventory.servers.items() if server in {name, one.title}]
    assert weather.gateway
    (principal,) = [one for one in inventory.principals.values() if agent in one.users]
    assert list(principal.tokens) == ["laptop"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_port_that_is_taken_is_named(tmp_path: Path, *, taken: bool) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        number = held.getsockname()[1]
        if taken:
            held.listen(1)
        lines = SHELL[0].replace("GATEWAY_PORT=4444", f"GATEWAY_PORT={number}")
        lines = lines.replace("SERVER_PORT=9000", f"SERVER_PORT={free_port()}")
        bash = shutil.which("bash") or ""
        done = subprocess.run(  # noqa: S603  # the guide's own lines
            [bash, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )
    assert (f"{number} is taken" in done.stdout) is taken, done
