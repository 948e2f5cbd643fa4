"""JSON from outside is read in one place, within limits: nesting and size are errors of ours, wherever from."""

import ast
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, strategies

from integrations import bounded
from integrations.gateways.administration import _said
from integrations.http import LONGEST_WAIT, Answer
from integrations.identity.client import error_of
from integrations.siem.sending import _answer
from integrations.systems.contextforge.enrol import ends_at
from integrations.systems.kubernetes.client import MOST, Api, _refusal
from integrations.systems.litellm.canary import _why
from playbooks.errors import Refused, SoarError, Transient

ROOT = Path(__file__).parents[2]
DEEP = b"[" * 200_000
OWN_LIMITS = {"integrations/bounded.py", "integrations/protocol/limits.py", "integrations/siem/decoding.py"}
"""Where the limits are: of answers, of a server under suspicion, of alerts."""

OURS = ("integrations/journal/", "integrations/vault/")
"""What we wrote ourselves is read there."""

READERS: dict[str, Callable[[bytes], object]] = {
    "kubernetes, a refusal": lambda raw: _refusal("cluster prod: GET /", 403, raw, {}),
    "kubernetes, an answer": lambda raw: Api("prod", lambda: "").read(raw, "GET /"),
    "a gateway, a refusal": lambda raw: _said(Answer(400, None, raw)),
    "litellm, a refusal to the canary": lambda raw: _why(raw.decode()),
    "contextforge, a token's end": lambda raw: ends_at(f"a.{base64.urlsafe_b64encode(raw).decode()}.c"),
    "a provider, a refusal": lambda raw: error_of(Answer(400, None, raw)),
    "a receiver's answer": _answer,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "raw", [DEEP, b'{"message": ' * 5000, b"", b"1" * 5000], ids=["arrays", "objects", "nothing", "a number"]
)
def test_no_answer_brings_down_whoever_reads_it(reader: str, raw: bytes) -> None:
    with suppress(SoarError):
        READERS[reader](raw)


def test_a_page_of_a_cluster_s_list_is_read_and_one_that_holds_more_than_memory_has_is_not() -> None:
    read = Api("prod", lambda: "").read
    pod = b'{"metadata": {"managedFields": [' + b", ".join([b'{"f:a": {}}'] * 1000) + b"]}}"
    assert len(read(b'{"items": [' + b", ".join([pod] * 200) + b"]}", "GET /")["items"]) == 200
    with pytest.raises(Refused, match="more than"):
        read(b'{"items": [' + b"0," * (MOST // 2 - 100) + b"0]}", "GET /")


def test_what_a_cluster_says_is_no_command_to_a_terminal() -> None:
    said = str(_refusal("cluster prod: GET /", 403, b'{"message": "x\\n2026 INFO contained\\u001b[2J"}', {}))
    assert said.isprintable()
    assert "contained" in said


@pytest.mark.parametrize("said", ["86400", "9" * 400, "inf", "nan", "-5", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", ""])
def test_a_cluster_is_waited_for_no_longer_than_we_wait_by_ourselves(said: str) -> None:
    busy = _refusal("cluster prod: GET /", 503, b"{}", {"Retry-After": said})
    assert isinstance(busy, Transient)
    assert busy.retry_after is None or 0 <= busy.retry_after <= LONGEST_WAIT


def test_what_is_outside_is_parsed_in_one_place() -> None:
    paths = {str(path.relative_to(ROOT)) for path in (ROOT / "integrations").rglob("*.py")}
    assert paths >= OWN_LIMITS
    found = {path for path in paths - OWN_LIMITS if not path.startswith(OURS) and {"loads", "json"} & _called(path)}
    assert not found, "what is outside is read by `integrations.bounded`"


def _called(path: str) -> set[str]:
    calls = (node.func for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Call))
    return {node.attr for node in calls if isinstance(node, ast.Attribute)}


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


_TEXTS = strategies.text(alphabet='a[]{}"\\,:\n')


@given(
    strategies.recursive(
        _TEXTS | strategies.none(),
        lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(_TEXTS, inner, max_size=3),
        max_leaves=12,
    ),
    strategies.integers(0, 6),
)
@example(["\\", [[]], "]"], 2)  # its text ends with what would escape its end
@example(['\\"', [[]], "x"], 2)
@example(["[", "]]", [[]]], 3)
def test_how_deep_it_nests_is_told_from_the_bytes_whatever_stands_in_its_texts(value: object, deepest: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bounded, "DEEPEST", deepest)
        for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False, separators=(",", ":"))):
            assert bounded.deep(raw.encode()) is (_depth(value) > deepest)
