"""A real LiteLLM proxy on loopback, without a database: its servers stand in its configuration file.

Its administration of servers and keys takes a database, whose engine is fetched from where tests have no way to; what
it refuses a client, and what it tells its administrator of what a server offers, it does without.
"""

import http.client
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import yaml

from flows.demo.processes import child, environment, free_port
from tests.lab.environments import Environment

ENVIRONMENT: Final = Environment("litellm", (3, 11), within=1200)
"""520 MB, and five minutes on a busy machine of two cores."""

_STARTS: Final = 300.0
"""Seconds for its start: 20 on an idle machine."""


@dataclass(frozen=True)
class RunningProxy:
    """A proxy that answers.

    Args:
        url: its address.
        master: its master key.
    """

    url: str
    master: str


@contextmanager
def litellm_proxy(folder: Path, servers: Mapping[str, Mapping[str, object]]) -> Iterator[RunningProxy]:
    """Run a proxy on a free loopback port.

    Args:
        folder: for its configuration and its log.
        servers: what stands behind it: name → settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, master = free_port(), f"sk-{secrets.token_hex(16)}"
    config = {"model_list": [], "mcp_servers": dict(servers), "general_settings": {"master_key": master}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/liveliness")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    start = "from litellm import run_server; run_server()"
    options = ["--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    # It asks nobody for a list of prices, and writes nothing into anybody's home.
    env = environment(HOME=str(folder), LITELLM_LOCAL_MODEL_COST_MAP="True", NO_DOCS="True")
    command = [ENVIRONMENT.python, "-c", start, *options]
    with child(command, log=folder / "litellm.log", ready=ready, within=_STARTS, env=env):
        yield RunningProxy(f"http://127.0.0.1:{port}", master)
