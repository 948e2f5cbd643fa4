"""What whoever serves the list answers, however a request is spelled; and a list that breaks."""

import base64
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.demo.processes import child, environment, free_port, listens
from integrations.systems.denylist.entries import Entries, Entry, claims_of, drop, judged, put, read
from tests.lab.denied import ISSUER, issued

ENTRY = Entry(key="mcp-soar-1", iss=ISSUER, sub="agent", issued_until=4_000_000_000)


def asked(url: str, token: str, *, method: str = "GET", scheme: str = "Bearer ") -> int:
    headers = {"Authorization": f"{scheme}{token}"}
    return httpx.request(method, f"{url}/any/path?x=1", headers=headers, trust_env=False, timeout=30).status_code


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "PROPFIND"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer\t", "DPoP ", "", "Bearer  x, "])
def test_a_denied_token_is_found_however_it_comes(served: str, tmp_path: Path, method: str, scheme: str) -> None:
    put(tmp_path / "denied.json", ENTRY, time.time())
    assert asked(served, issued("agent"), method=method, scheme=scheme) == 401
    assert asked(served, issued("somebody"), method=method, scheme=scheme) == 200


def test_whoever_is_turned_away_is_told_which_entry_does_it(served: str, tmp_path: Path) -> None:
    put(tmp_path / "denied.json", ENTRY, time.time())
    found = httpx.get(served, headers={"Authorization": f"Bearer {issued('agent')}"}, trust_env=False, timeout=30)
    assert found.headers["WWW-Authenticate"] == (
        'Bearer error="invalid_token", error_description="denied by mcp-soar-1"'
    )
    assert found.json() == {"error": "invalid_token", "error_description": "denied by mcp-soar-1"}


def test_a_list_that_breaks_goes_on_as_it_was_and_one_that_never_was_lets_nobody_in(
    served: str, tmp_path: Path
) -> None:
    file, token = tmp_path / "denied.json", issued("agent")
    file.write_text("{")
    assert asked(served, token) == 503
    file.unlink()
    put(file, ENTRY, time.time())
    assert asked(served, token) == 401
    file.write_text("{broken")
    assert asked(served, token) == 401
    file.unlink()
    put(file, ENTRY.model_copy(update={"sub": "other"}), time.time())
    assert asked(served, token) == 200


def test_who_writes_at_once_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "denied.json"
    entries = [ENTRY.model_copy(update={"key": f"mcp-soar-{number}"}) for number in range(20)]
    writers = [threading.Thread(target=put, args=(file, entry, time.time())) for entry in entries]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert {one.key for one in read(file).entries.denied} == {one.key for one in entries}
    drop(file, "mcp-soar-3")
    drop(file, "mcp-soar-3")
    assert len(read(file).entries.denied) == 19
    assert [one.name for one in tmp_path.iterdir() if not one.name.endswith(".lock")] == ["denied.json"]


def test_what_ended_long_ago_goes_with_the_next_write(tmp_path: Path) -> None:
    file = tmp_path / "denied.json"
    put(file, Entry(key="mcp-soar-1", iss=ISSUER, jti="x", until=1000), 1000)
    put(file, Entry(key="mcp-soar-2", iss=ISSUER, jti="y", until=9e9), 2000)  # type: ignore[arg-type]  # whole
    assert len(read(file).entries.denied) == 2, "a release looks for it"
    put(file, ENTRY.model_copy(update={"key": "mcp-soar-3"}), 1000 + 8 * 24 * 3600)
    assert [one.key for one in read(file).entries.denied] == ["mcp-soar-2", "mcp-soar-3"]


@pytest.mark.parametrize(
    "written",
    [
        {"key": "x", "iss": ISSUER},
        {"key": "x", "iss": ISSUER, "sub": "a"},
        {"key": "x", "iss": ISSUER, "jti": "a", "sub": "a", "issued_until": 1},
    ],
)
def test_an_entry_that_says_neither_or_both_is_none(written: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="write either jti, or sub and issued_until"):
        Entry.model_validate(written)


@given(st.text(max_size=300))
def test_whatever_comes_is_answered(text: str) -> None:
    assert judged(Entries(denied=(ENTRY,)), [text, f"Bearer {text}.{text}.{text}"], 0.0) in {None, ENTRY}
    claims_of(text)


def test_deep_nesting_is_no_token() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")
    assert claims_of(f"x.{deep}.x") is None


def test_it_is_served_by_a_command_that_reads_the_file_alone(tmp_path: Path) -> None:
    put(tmp_path / "denied.json", ENTRY, time.time())
    port = free_port()
    command = [sys.executable, "-m", "integrations.systems.denylist", str(tmp_path / "denied.json")]
    command += ["--listen", f"127.0.0.1:{port}"]
    env = environment(PYTHONPATH=str(Path(__file__).parents[4]))
    with child(command, log=tmp_path / "log", ready=lambda: listens(port), within=60, env=env):
        assert asked(f"http://127.0.0.1:{port}", issued("agent")) == 401
        assert asked(f"http://127.0.0.1:{port}", issued("somebody")) == 200
    assert (tmp_path / "log").read_text() == "", "nobody's request is written down"
