"""Serves a deny list to whoever takes tokens: `python -m integrations.systems.denylist FILE --listen HOST:PORT`.

It answers as Envoy's ext_authz over HTTP has it: 200 lets a request pass, 401 is the answer that its sender gets. It
reads the one file, holds no secret, and checks no signature: that is for the server, which turns everything else away.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from typing_extensions import override

from integrations.systems.denylist.entries import Kept, judged

_PATIENCE: Final = 30.0
"""Seconds that a connection may be silent."""


class _Asked(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    kept: Kept

    def _answer(self) -> None:
        # What is asked about is in the headers: what else was sent is not read, and ends the connection.
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
        found = self.kept.now()
        if self.kept.fault and not found.mark:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "temporarily_unavailable"})
            return
        entry = judged(found.entries, self.headers.get_all("Authorization", []), time.time())
        if entry is None:
            # Whoever asks as Envoy does reads no more than the status: this is for `mcp-soar doctor`.
            self._say(HTTPStatus.OK, {"list": found.mark})
            return
        why = f"denied by {entry.key}"
        self._say(
            HTTPStatus.UNAUTHORIZED,
            {"error": "invalid_token", "error_description": why},
            challenge=f'Bearer error="invalid_token", error_description="{why}"',
        )

    def _say(self, status: HTTPStatus, body: object, *, challenge: str = "") -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "application/json")
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a request's line may carry what nobody is to read."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return what answers a method: whoever asks passes on the one that it was sent itself."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


def serving(file: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return what serves a list, which does so once `serve_forever` is called.

    Args:
        file: the list.
        host: to listen on.
        port: likewise; any that is free if 0.
    """
    handler = type("Asked", (_Asked,), {"kept": Kept(file)})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    return server


def main() -> int:
    """Serve until somebody ends it; return 2 if there is nothing to serve by."""
    parser = argparse.ArgumentParser(prog="python -m integrations.systems.denylist", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--listen", default="127.0.0.1:9191", metavar="HOST:PORT")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    if not port.isdigit() or not host:
        parser.error("--listen takes HOST:PORT, as 127.0.0.1:9191")
    with serving(given.file, host.strip("[]"), int(port)) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
