"""Our own Prefect server: on loopback, behind a generated password, telling nobody anything, and tuned for SQLite.

It is where people watch. It holds no secret of a target and no signing key, and nothing waits for it.
"""

import contextlib
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from integrations import whole

_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_PROMPT": "false",
    # Its client checks the server's version with a request of its own and warns; ours come from one lock.
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
}

# With the defaults a flow run loses SQLite's write lock to these services: 503, and two seconds until the next try.
_TUNED = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
}


def password(folder: Path) -> str:
    """Return the API's user and password, `user:password`, made when there is none yet and kept in a 0600 file.

    Args:
        folder: the server's folder, mode 0700.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "auth"
    with contextlib.suppress(FileExistsError):
        whole.put(path, f"mcp-soar:{secrets.token_urlsafe(32)}\n".encode())
    return path.read_text(encoding="utf-8").strip()


def server_environment(folder: Path, *, auth: str, url: str) -> dict[str, str]:
    """Return the settings of our own server.

    Args:
        folder: where it keeps its database.
        auth: from `password`.
        url: of its API, as browsers reach it.
    """
    return {
        **_QUIET,
        **_TUNED,
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        # Its own services call it too.
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def client_environment(folder: Path, *, auth: str | None, url: str) -> dict[str, str]:
    """Return the settings of a process that reports to a server.

    Args:
        folder: where Prefect's client may keep files.
        auth: `user:password`, if the server wants one.
        url: of its API.
    """
    environment = {
        **_QUIET,
        "PREFECT_HOME": str(folder),
        "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
        "PREFECT_API_URL": url,
        # Reporting is worth little waiting: what fails is published later.
        "PREFECT_API_REQUEST_TIMEOUT": "5",
        "PREFECT_CLIENT_MAX_RETRIES": "2",
        # A step's result is in the journal, nowhere else.
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }
    return {**environment, "PREFECT_API_AUTH_STRING": auth} if auth else environment


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without whatever Prefect settings it carries."""
    return {name: value for name, value in environment.items() if not name.startswith("PREFECT_")}


def serve(descriptor: int, *, started: Callable[[], None]) -> None:
    """Serve on a listening socket that was inherited, until ended. Settings come from the environment.

    Args:
        descriptor: of the socket.
        started: called when it answers.
    """
    import uvicorn  # noqa: PLC0415  # only this process needs it

    class Server(uvicorn.Server):
        @override
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

    application: Any = "prefect.server.api.server:create_app"
    config = uvicorn.Config(
        application,
        factory=True,
        fd=descriptor,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)
