"""What doctor says of a port of ours that takes connections: it starts, it cannot take alerts, or it is well."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli.work.doctor_running import _receiver, look
from flows.service.settings import Configuration
from integrations.journal.stamp import INSTALLATION, Stamp
from integrations.system import Looked
from tests.flows.cli.world import Installation


@contextmanager
def port(answer: str | None, whose: str = "") -> Iterator[int]:
    """Listen as `up` does from its first second on, and answer with a status; None as long as nobody accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    if taken.recv(1024):
                        says = f"{INSTALLATION}: {whose}\r\n" if whose else ""
                        taken.sendall(f"HTTP/1.1 {answer}\r\n{says}Content-Length: 0\r\n\r\n".encode())

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def said(config: Configuration, check: str, **ports: int) -> Looked:
    settings = config.settings
    changed = {name: getattr(settings, name).model_copy(update={"port": number}) for name, number in {**ports}.items()}
    (line,) = (one for one in look(replace(config, settings=settings.model_copy(update=changed))) if one.check == check)
    return line


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (None, "warn", "answers none yet: the receiver starts"),
        ("503 Service Unavailable", "fail", "answers that it cannot take alerts"),
        ("200 OK", "ok", "listens at"),
        ("404 Not Found", "fail", "something else has that port"),
        ("", "fail", "something else has that port"),
    ],
)
def test_a_receiver_that_starts_is_not_one_that_fails(
    site: Installation, answer: str | None, level: str, words: str
) -> None:
    own = Stamp.ensure(site.config.path(site.config.settings.receiver.stamp))
    with port(answer, own.installation) as number:
        line = said(site.config, "receiver", receiver=number, prefect=0)
    assert (line.level, words in line.message) == (level, True), line


@pytest.mark.parametrize("answer", ["200 OK", "503 Service Unavailable"])
def test_another_installations_receiver_is_not_taken_for_ours(site: Installation, tmp_path: Path, answer: str) -> None:
    other = Stamp.ensure(tmp_path / "other.stamp").installation
    stamp = site.config.path(site.config.settings.receiver.stamp)
    stamp.unlink(missing_ok=True)

    def line(whose: str) -> Looked:
        with port(answer, whose) as number:
            return said(site.config, "receiver", receiver=number, prefect=0)

    # None of ours has ever run.
    assert (line(other).level, "another installation's" in line(other).message) == ("warn", True)
    Stamp.ensure(stamp)
    assert (line(other).level, "another installation's" in line(other).message) == ("warn", True)
    assert (line("").level, "cannot be told" in line("").message) == ("warn", True)
    # Where our own `up` says that it serves, it does.
    assert _receiver("127.0.0.1:9", "http", own="x", here=True).level == "fail"
    with port(answer, "") as number:
        here = _receiver(f"127.0.0.1:{number}", "http", own="x", here=True)
    assert "another" not in here.message
    assert "told" not in here.message


def test_prefect_that_starts_is_not_to_be_started(site: Installation) -> None:
    with port(None) as number:
        line = said(site.config, "prefect", receiver=0, prefect=number)
    assert (line.level, "it starts" in line.message) == ("warn", True), line
    assert "mcp-soar up" not in line.remedy
