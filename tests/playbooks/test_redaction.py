"""Secrets and personal data are masked whatever they are dressed in, and what is no secret stays."""

import re
import unicodedata
from re import _parser as parser  # type: ignore[attr-defined]  # the only way to see how a pattern may backtrack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.text.redaction import FORMS, GROWTH, mark, redacted

A40 = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRETS = {
    # Put together here, so that nobody's scanner takes this file for a leak.
    "AKIA" + "IOSFODNN7EXAMPLE": "aws key",
    "ASIA" + "IOSFODNN7EXAMPLE": "aws key",
    "ghp_" + "a1B2" * 9: "github token",
    "ghs_" + "a1B2" * 9: "github token",
    "github_pat_" + "11ABCDEFG0" + "_" + "x9" * 30: "github token",
    "glpat-" + "a1B2c" * 4: "gitlab token",
    "glrt-" + "t1_" + "a1B2c" * 6: "gitlab token",
    "xoxb-" + "123456789012-123456789012-" + "aB3" * 8: "slack token",
    "xapp-" + "1-A0123456789-123456789012-" + "0af1" * 16: "slack token",
    "xoxe.xoxp-" + "1-" + "Mi0yL" * 20: "slack token",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc": "stripe key",
    "rk_test_" + "4eC39HqLyjWDarjtT1zdp7dc": "stripe key",
    "sk-ant-api03-" + "a1-B_" * 19: "api key",
    "sk-proj-" + "a1B2_" * 14 + "T3BlbkFJ" + "x" * 40: "api key",
    "AIza" + "SyA-1b_2cD3" + "e" * 24: "api key",
    "dop_v1_" + "a1b2" * 16: "api key",
    "SG." + "a1B2c3D4e5F6g7H8i9J0k1." + "a1B2-" * 8: "api key",
    "hvs." + "a1B2" * 6: "api key",
    "dapi" + "a1b2" * 8: "api key",
    "pnu_" + "a1B2" * 9: "api key",
    "ABSK" + "a1B2" * 28: "aws key",
    "npm_" + "a1B2" * 9: "npm token",
    "pypi-" + "AgEIcHlwaS5vcmc" + "CJDk3" * 12: "pypi token",
    "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "webhook secret",
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0." + "dozjgNryP4J3jVmNHl0w5N": "jwt",
    "ann.lee@corp.example.com": "e-mail",
    "홍길동@예시.한국": "e-mail",
    "900101-1234567": "registration number",
    "9001011234567": "registration number",
    "+82 10-1234-5678": "phone number",
    "+1 (555) 010-9999": "phone number",
    "010-1234-5678": "phone number",
    "4111 1111 1111 1111": "card number",
    "378282246310005": "card number",
    "5555-5555-5555-4444": "card number",
    "GB82 WEST 1234 5698 7654 32": "iban",
    "DE89370400440532013000": "iban",
}
IN_CONTEXT = {
    f"aws_secret_access_key = {A40}": (A40, "aws key"),
    f'{{"SecretAccessKey": "{A40}"}}': (A40, "aws key"),
    f"AKIAIOSFODNN7EXAMPLE,{A40}": (A40, "aws key"),
    "password=hunter2": ("hunter2", "password"),
    "passwd: hunter2!": ("hunter2!", "password"),
    '{"db_password": "hun ter2"}': ("hun ter2", "password"),
    r"{\"password\": \"hun ter2\"}": ("hun ter2", "password"),
    r'{"password": "hun\"ter2"}': ("ter2", "password"),
    "PGPASSWORD='hun ter2' psql": ("hun ter2", "password"),
    "비밀번호: 가나다라1": ("가나다라1", "password"),
    unicodedata.normalize("NFD", "비밀번호") + "=abc1": ("abc1", "password"),
    "https://h.example/x?token=abc1&b=1": ("abc1", "secret"),
    "api_key: 0123456789abcdef": ("0123456789abcdef", "secret"),
    "adafruit_key = a1b2c3d4e5f6g7h8": ("a1b2c3d4e5f6g7h8", "secret"),
    "_gitlab_session=7k0vca7u60v8g2ie29gwvfq5": ("7k0vca7u60v8g2ie29gwvfq5", "secret"),
    "client_secret=s3cr3t": ("s3cr3t", "secret"),
    "postgresql://soar:pw1@db.example/soar": ("soar:pw1", "password"),
    "https://tok3n@git.example/x.git": ("tok3n", "password"),
    "Authorization: Bearer abc.def1": ("abc.def1", "bearer token"),
    "authorization: Basic dXNlcjpwYXNz": ("dXNlcjpwYXNz", "credentials"),
    "sent Bearer s3cr3t": ("s3cr3t", "bearer token"),
    "Set-Cookie: sid=abc; Path=/": ("sid=abc", "credentials"),
    "https://hooks.slack.com/services/T0/B0/XXXXXXXXXX": ("T0/B0/XXXXXXXXXX", "webhook secret"),
    "mysql --password hunter2 -h db": ("hunter2", "password"),
    "your one-time code: 4711-0815": ("4711-0815", "one-time code"),
    "인증번호는 471108": ("471108", "one-time code"),
    "password=[redacted: hunter2]": ("hunter2", "password"),
    "card 4111 1111 1111 1111 12/27": ("4111 1111 1111 1111", "card number"),
    "row 22 4111 1111 1111 1111": ("4111 1111 1111 1111", "card number"),
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow-IBAAK\n-----END RSA PRIVATE KEY-----": ("MIIEow-IBAAK", "private key"),
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r": ("b3BlbnNzaC1r", "private key"),
}
HARMLESS = (
    "the tool get_weather of server weather differs from its approved pin",
    "tool_poisoning|tool:weather/get_weather",
    "sha256:4111111111111111411111111111111141111111111111114111111111111111",
    "018f4111-1111-7111-8111-411111111111 at 2026-01-31T12:00:00.123Z, 1769860800123 ms",
    "key: sha256:4111111111111111411111111111111141111111111111114111111111111111",
    "idempotency key=inc-2026-000001, session 4",
    "verified chosen-token@token:dana-kim/3f2b8c1d-e0a9-4c7d-8e1f-00112233aabb: established",
    "verified revoke-issued-token@sso:token:dana-kim/3f2b8c1d-e0a9-4c7d-8e1f-00112233aabb: established",
    "Lease revoke_token@token:3f2b8c1de0a94c7d8e1f00112233aabb of 한국",
    "left-pad@1.3.0 and registry.example/img@sha256",
    "contacts.yaml:5: password: is missing; add it",
    "a bearer over TLS, or a basic one; token: read the docs, key: value",
    "10.0.0.1:8443, http://gateway:4444/tools?x=1, env:SMTP_PASSWORD",
    "승인된 설명과 다르다: 도구 get_weather",
)
ANY = st.text() | st.lists(
    st.sampled_from(
        [*SECRETS, *IN_CONTEXT, *HARMLESS, mark("password"), "[redacted: ", "password=", '"', "\u200b", "]"]
    )
    | st.text(max_size=3)
).map("".join)


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize(("secret", "name"), SECRETS.items())
def test_what_is_a_secret_by_itself_is_masked_and_nothing_beside_it(secret: str, name: str) -> None:
    assert redacted(f"it says {secret}, then") == f"it says {mark(name)}, then"


@pytest.mark.parametrize(("text", "secret", "name"), [(text, *what) for text, what in IN_CONTEXT.items()])
def test_what_is_a_secret_by_its_context_is_masked(text: str, secret: str, name: str) -> None:
    assert secret not in redacted(text)
    assert mark(name) in redacted(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


UUID = "3f2b8c1d-e0a9-4c7d-8e1f-00112233aabb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # No name of a step: a value of a thing called token.
        (f"token:{UUID}", "token:[redacted: secret]"),
        (f"x @token: {UUID}", "x @token: [redacted: secret]"),
        (f"a@token={UUID}", "a@token=[redacted: secret]"),
        # No id of a token: whatever it is, it may be one.
        (f"a@b:token:{UUID}", "a@b:token:[redacted: secret]"),
        (f"a@token:{UUID}0", "a@token:[redacted: secret]"),
        (f"a@token:{UUID}.x-y", "a@token:[redacted: secret]"),
        ("a@token:0123456789abcdefghij", "a@token:[redacted: secret]"),
        # What follows is the sentence's.
        ("the password=hunter2: wrong", "the password=[redacted: password]: wrong"),
        ("api_key: 0123456789abcdef: it leaked", "api_key: [redacted: secret]: it leaked"),
        ("password=hunter2:x y", "password=[redacted: password] y"),
        ("password=:", "password=[redacted: password]"),
    ],
)
def test_a_name_of_ours_is_told_from_a_secret_and_a_secret_from_the_sentence(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("hidden", ["\u200b", "\u2060", "\U000e0041", "\x00", "\ufe0f", "\u0336", "\u3164"])
@pytest.mark.parametrize("secret", [s for s in SECRETS if s.isascii()])
def test_invisible_characters_inside_hide_nothing(secret: str, hidden: str) -> None:
    shown = redacted(f"it says {hidden.join(secret)} then")
    assert shown.replace(hidden, "") == redacted(f"it says {secret} then")


@pytest.mark.parametrize("secret", [s for s in SECRETS if s.isascii()])
def test_full_width_letters_hide_nothing(secret: str) -> None:
    assert full_width(secret) not in redacted(f"it says {full_width(secret)} then")
    assert mark(SECRETS[secret]) in redacted(f"it says {full_width(secret)} then")


def test_a_letter_whose_lower_case_is_longer_moves_nothing() -> None:
    assert redacted("İİİİ password=hunter2 end") == "İİİİ password=[redacted: password] end"


@given(ANY)
def test_twice_is_once_and_the_length_is_bounded(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
    assert len(once) <= GROWTH * len(text) + len(mark("text"))


@given(ANY, st.integers(0, 200))
def test_a_cut_never_shows_half_a_secret(text: str, limit: int) -> None:
    shown = redacted(text, limit)
    assert len(shown) <= limit
    assert redacted(text).startswith(shown.removesuffix("…"))


@given(st.sampled_from([*SECRETS]), st.text(), st.text())
def test_a_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str) -> None:
    assert secret not in redacted(f"{before} {secret} {after}")


def test_no_pattern_can_backtrack_without_bound() -> None:
    def loose(tree: Any) -> list[Any]:  # noqa: ANN401  # sre's own parse tree
        found: list[Any] = []
        for code, argument in tree:
            if str(code) in {"MAX_REPEAT", "MIN_REPEAT"}:
                low, high, inner = argument
                found += [(low, high)] if high == parser.MAXREPEAT else loose(inner)
                # A repeat within a repeat is where an exponent comes from.
                found += [inner for c, _ in inner if str(c) in {"MAX_REPEAT", "MIN_REPEAT"} and high > 64]
            for part in argument if isinstance(argument, (tuple, list)) else ():
                if isinstance(part, parser.SubPattern):
                    found += loose(part)
                elif isinstance(part, list):
                    found += [fault for one in part if isinstance(one, parser.SubPattern) for fault in loose(one)]
        return found

    assert loose(parser.parse(r"(?:a*)b")) != []
    assert {form.pattern.source: loose(parser.parse(form.pattern.source, re.IGNORECASE)) for form in FORMS} == {
        form.pattern.source: [] for form in FORMS
    }


STARTS = sorted({start for form in FORMS for start in form.starts})


@pytest.mark.parametrize(
    "piece", [*STARTS, "a", "a@", "a.", "@a.", "1", "1 ", "4 ", "A1 ", "GB82 ", "eyJ-", "-", "\u200b", "\uff41"]
)
@pytest.mark.parametrize("tail", ["", "=", ': "', "-----BEGIN PRIVATE KEY-----"])
# Quadratic in this length is 10^9 steps, some 20 s; linear is a tenth of one.
@pytest.mark.timeout(10)
def test_long_input_made_to_be_slow_is_not(piece: str, tail: str) -> None:
    redacted((piece + tail) * (30_000 // len(piece + tail)))
