"""A real ContextForge gateway on loopback, in its own virtual environment, with generated secrets."""

import http.client
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.demo.processes import child, environment, free_port
from integrations.systems.contextforge.enrol import fresh_password
from playbooks.errors import Misconfigured

ADMIN = "admin@example.com"


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that answers.

    Args:
        url: its address.
        user: its administrator.
        password: that user's password.
        folder: where its database and its log are.
    """

    url: str
    user: str
    password: str
    folder: Path

    def __repr__(self) -> str:
        return f"RunningGateway({self.url})"


def executable() -> Path:
    """Return the gateway's program.

    Raises:
        Misconfigured: if it is not installed; says how to install it.
    """
    root = Path(__file__).resolve().parents[2]
    venv = Path(os.environ.get("MCP_SOAR_GATEWAY_VENV", root / ".venv-gateway"))
    program = venv / "bin" / "mcpgateway"
    if not program.exists():
        raise Misconfigured(
            f"no gateway in {venv}: run `make demo` or `make test`, which install one there, or set"
            " MCP_SOAR_GATEWAY_VENV to a virtual environment that has requirements/gateway.txt installed"
        )
    return program


@contextmanager
def contextforge(folder: Path, **otherwise: str) -> Iterator[RunningGateway]:
    """Run a gateway on a free loopback port, with a fresh database in `folder`. It takes about eight seconds.

    Args:
        folder: for its database and its log.
        otherwise: settings of it that are to be other than here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    password = fresh_password()
    settings = {
        # Its migrations take a lock in the temporary folder, one for the whole machine; this one is ours.
        "TMPDIR": str(folder),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:///{folder / 'contextforge.db'}",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "BASIC_AUTH_PASSWORD": password,
        "DEFAULT_USER_PASSWORD": password,
        "PLATFORM_ADMIN_EMAIL": ADMIN,
        "PLATFORM_ADMIN_PASSWORD": password,
        "ADMIN_REQUIRE_PASSWORD_CHANGE_ON_BOOTSTRAP": "false",  # a switch
        # Else it refuses, as a generic 422, to register a server on loopback.
        "SSRF_ALLOW_LOCALHOST": "true",
        "CACHE_TYPE": "memory",
        "MCPGATEWAY_UI_ENABLED": "false",
        # What nobody asks for here is a quarter of what it takes to start, and, since each route is tried in turn, of
        # what it takes to answer.
        "MCPGATEWAY_ADMIN_API_ENABLED": "false",
        "MCPGATEWAY_A2A_ENABLED": "false",
        "MCPGATEWAY_CATALOG_ENABLED": "false",
        "LLMCHAT_ENABLED": "false",
        "AUDIT_TRAIL_ENABLED": "true",
        "PERMISSION_AUDIT_ENABLED": "true",
        "SECURITY_LOGGING_ENABLED": "true",
        # What it does at each request, a line each and more, is a fifth of its processor time.
        "LOG_LEVEL": "WARNING",
        "TOKEN_EXPIRY": "60",  # minutes
        "PLUGINS_ENABLED": "false",
        # Its passwords are random and live as long as it does: a quarter of a second for each login buys nothing.
        "ARGON2ID_TIME_COST": "1",
        "ARGON2ID_MEMORY_COST": "1024",
        # Its own limits (500 requests a minute from one address, 15 minutes' lock-out after five refusals) would stop
        # the burst of 100 alerts; with them on, our client waits as long as its 429 says.
        "RATE_LIMITING_ENABLED": "false",
    }
    env = environment(**settings | otherwise)

    def ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    command = [str(executable()), "--host", "127.0.0.1", "--port", str(port)]
    with child(command, log=folder / "contextforge.log", ready=ready, within=300, env=env):
        yield RunningGateway(url=f"http://127.0.0.1:{port}", user=ADMIN, password=password, folder=folder)
