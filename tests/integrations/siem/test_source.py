"""`sources.yaml`, secrets and signatures."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path

import pytest

from integrations.siem.source import (
    Hmac,
    Source,
    new_secret,
    read_keys,
    read_sources,
    same_token,
    sign,
    signed,
    verify,
)
from playbooks.errors import Misconfigured
from playbooks.record.incident import Confidence
from playbooks.taxonomy import IncidentClass

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = bytes(range(32))

FILE = """\
version: 1
sources:
  falco:
    format: falco
    authentication:
      hmac: {secrets: [{env: NEW}, {file: /run/secrets/old}]}
      window: 2m
    confidence: high
    classify:
      - {rule: MCP tool definition changed, class: tool_poisoning}
      - {tag: exfiltration, class: data_exfiltration}
    default_class: unclassified
  kibana:
    format: elastic
    authentication: {bearer: {secrets: [{env: KIBANA}]}}
    confidence: medium
  scanner:
    format: generic
    authentication: none
    confidence: low
"""


def one(authentication: object, confidence: str = "low") -> Source:
    return Source.model_validate({"format": "generic", "authentication": authentication, "confidence": confidence})


def test_a_whole_file() -> None:
    sources = read_sources(FILE).sources
    falco = sources["falco"]
    assert isinstance(falco.authentication, Hmac)
    assert falco.authentication.window == 120
    assert [secret.env for secret in falco.secrets] == ["NEW", None]
    assert falco.confidence is Confidence.HIGH
    assert [match.incident_class for match in falco.classify] == [
        IncidentClass.TOOL_POISONING,
        IncidentClass.DATA_EXFILTRATION,
    ]
    assert [source.authenticated for source in sources.values()] == [True, True, False]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("authentication: none", "authentication: nothing", 19, "`none`"),
        ("authentication: none", "authentication: {mtls: yes}", 19, "`none`"),
        ("[{env: KIBANA}]", "[]", 15, "at least 1"),
        ("[{env: KIBANA}]", "[{env: A}, {env: B}, {env: C}]", 15, "at most 2"),
        ("[{env: KIBANA}]", "[{env: A, file: b}]", 15, "exactly one"),
        ("confidence: low", "confidence: high", 17, "its confidence is low"),
        ("confidence: high", "confidence: certain", 8, "confidence"),
        ("format: falco", "format: syslog", 4, "falco"),
        # Below a choice, the line is that of the choice.
        ("window: 2m", "window: 2d", 6, "3600"),
        ("{tag: exfiltration, ", "{tag: x, rule: y, ", 11, "exactly one of rule, tag or title_contains"),
        ("class: data_exfiltration", "class: anything", 11, "class"),
        ("default_class: unclassified", "trusted: true", 12, "not a field"),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in FILE
    with pytest.raises(Misconfigured, match=says) as caught:
        read_sources(FILE.replace(old, new))
    assert caught.value.line == line


def test_keys_come_from_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text(new_secret() + "\n")
    monkeypatch.setenv("NEW", "whsec_" + base64.b64encode(KEY).decode())
    first, second = read_keys("s", one({"hmac": {"secrets": [{"env": "NEW"}, {"file": str(old)}]}}))
    assert first == KEY
    assert len(second) == 32
    assert read_keys("s", one("none")) == ()


@pytest.mark.parametrize("scheme", ["hmac", "bearer"])
@pytest.mark.parametrize(
    "value", ["", " ", "short", "whsec_", "whsec_" + "A" * 12, "whsec_!" * 10, "pass word " * 10, "é" * 40]
)
def test_a_weak_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, scheme: str, value: str) -> None:
    monkeypatch.setenv("THE_SECRET", value)
    with pytest.raises(Misconfigured, match="THE_SECRET") as caught:
        read_keys("s", one({scheme: {"secrets": [{"env": "THE_SECRET"}]}}))
    assert not value.strip() or value not in str(caught.value).replace("`whsec_`", "")


def test_a_secret_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_keys("s", one({"hmac": {"secrets": [{"file": str(tmp_path / "none")}]}}))


def test_a_signature_is_that_of_standard_webhooks() -> None:
    # The specification's own recipe, written out.
    mac = hmac.new(KEY, b"msg_1.1674087231." + b'{"a":1}', hashlib.sha256).digest()
    assert sign(KEY, "msg_1", 1674087231, b'{"a":1}') == "v1," + base64.b64encode(mac).decode()


def test_a_published_example_verifies() -> None:
    # From the test vectors of the Standard Webhooks and Svix libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert (
        sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "é", "x" * 101, "a\n"])
def test_an_ambiguous_id_is_not_signed(message_id: str) -> None:
    with pytest.raises(ValueError, match="webhook-id"):
        sign(KEY, message_id, AT, b"{}")


def test_either_key_and_any_of_several_signatures_verify() -> None:
    other = bytes(32)
    headers = signed(KEY, "m1", AT, b"{}")
    signature = headers["webhook-signature"]

    def check(keys: tuple[bytes, ...], signature: str, seconds: int = 0, body: bytes = b"{}") -> bool:
        at = datetime.fromtimestamp(AT.timestamp() + seconds, UTC)
        stamp = headers["webhook-timestamp"]
        return verify(keys, message_id="m1", timestamp=stamp, signature=signature, body=body, at=at, window=300)

    assert check((KEY,), signature)
    assert check((other, KEY), signature)
    assert check((KEY, other), "v1a,x v1,bad " + signature)
    assert check((KEY,), signature, seconds=300)
    assert check((KEY,), signature, seconds=-300)
    assert not check((KEY,), signature, seconds=301)
    assert not check((KEY,), signature, seconds=-301)
    assert not check((other,), signature)
    assert not check((), signature)
    assert not check((KEY,), signature, body=b"{} ")
    assert not check((KEY,), signature.replace("v1,", "v2,"))
    assert not check((KEY,), " ".join(["v1,bad"] * 8 + [signature]))


def test_a_token_is_compared_whole() -> None:
    keys = (b"a" * 30, b"b" * 30)
    assert same_token(keys, "a" * 30)
    assert same_token(keys, "b" * 30)
    for wrong in ("", "a" * 29, "a" * 31, "é" * 30, "日" * 30):
        assert not same_token(keys, wrong)
