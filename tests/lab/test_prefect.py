"""Asking the tests' Prefect server: its moments of being busy are nobody's failure, its refusals are told."""

import http
import socket
import threading
from pathlib import Path

import pytest

from tests.lab.prefect import PrefectServer


def answering(listener: socket.socket, statuses: list[int]) -> threading.Thread:
    """Have one connection after another answered with the next status."""

    def answer() -> None:
        for status in statuses:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 {status} so\r\nContent-Length: 4\r\n\r\ntrue".encode())

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize(("statuses", "told"), [([503, 500, 200], True), ([409], http.HTTPStatus.CONFLICT)])
def test_a_busy_one_is_asked_again_and_a_refusal_is_told(tmp_path: Path, statuses: list[int], told: object) -> None:
    server = PrefectServer(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        asked = answering(listener, statuses)
        assert server.ask("/deployments/") == told
        asked.join()
    server.close()
