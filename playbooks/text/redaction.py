"""Masks secrets and personal data in text that comes from outside, before it enters a journal, a message or a log.

Exhibits stay raw: they are the evidence. Everything else says what was there, as `[redacted: aws key]`, and not what it
was. Rather a word too many than one too few: `password: x` hides x whatever it is.

The time is linear in the text: no pattern here can match one place in two ways, each is bounded or possessive, and is
tried only where the literal text stands that it starts with. The forms are those that their makers document:

* AWS unique ids: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
* GitHub: https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
* GitLab: https://docs.gitlab.com/security/tokens/#token-prefixes
* Slack: https://docs.slack.dev/authentication/tokens/ and .../messaging/sending-messages-using-incoming-webhooks/
* Stripe: https://docs.stripe.com/keys
* npm: https://github.blog/changelog/2021-09-23-npm-has-a-new-access-token-format/
* PyPI: https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns
* Google API keys: https://docs.cloud.google.com/docs/authentication/api-keys
* Hugging Face: https://huggingface.co/docs/hub/security-tokens
* OpenAI and Anthropic document no form; theirs is as gitleaks has it:
  https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml
* Webhook secrets: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
* JWT and JWE: RFC 7519, RFC 7516 · PEM: RFC 7468 · Bearer: RFC 6750 · Basic: RFC 7617 · userinfo: RFC 3986, 3.2.1
* e-mail: RFC 5321, 4.5.3.1 and RFC 6531 · telephone: ITU-T E.164 · payment cards: ISO/IEC 7812-1 · IBAN: ISO 13616
* Korean resident and alien registration numbers: Enforcement Decree of the Resident Registration Act, article 7 and
  its form (six digits of birth, the century and sex, six more); since October 2020 they carry no check digit.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

GROWTH: Final = 5
"""How many times longer than the text the result can be at most, but for one mark."""

_DEPTH = 5
"""How often the result is read again for what only shows once something else is masked."""


_CLEAN: set[str] = set()
"""Short texts in which nothing was found, so that it never holds a secret."""
_SHORT = 500
_MOST = 4096


class Later:
    """A pattern that is compiled when a text first asks for it: most texts ask for few, and most commands for none.

    Args:
        source: the pattern.
        flags: as `re.compile` takes them.
    """

    def __init__(self, source: str, flags: int = 0) -> None:
        self.source = source
        self._flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern itself."""
        return re.compile(self.source, self._flags)


@dataclass(frozen=True, slots=True)
class Shape:
    """What one kind of secret or personal datum looks like.

    Args:
        name: what the mark says.
        starts: lower-case text, with one of which every match starts; if it is empty, the pattern is searched for.
        pattern: matches it; if there is a group `it`, only that is masked.
        needs: text without which there is no match.
        check: whether a match is one, as by its check digits.
    """

    name: str
    starts: tuple[str, ...]
    pattern: Later
    needs: str = ""
    check: Callable[[str], bool] = bool


def prepare() -> None:
    """Compile every pattern now, for a process that is to lose no time on it later."""
    for form in FORMS:
        _ = form.pattern.compiled


def redacted(text: str, limit: int | None = None) -> str:
    """Return the text with every secret and personal datum replaced by a mark that says what it was.

    What is already masked stays as it is: twice is once. Full-width letters and invisible characters hide nothing.

    Args:
        text: from outside.
        limit: how many characters the result may have; cut after masking, for half a secret is no longer recognised.
    """
    shown = text
    for _ in range(0 if text in _CLEAN else _DEPTH):
        spans = _spans(shown)
        if not spans:
            _remember(shown)
            break
        shown = _masked(shown, spans)
    else:
        # Secrets within secrets within secrets: somebody plays with us, and gets nothing through.
        shown = mark("text") if shown not in _CLEAN and _spans(shown) else shown
    if len(shown) > GROWTH * len(text) + len(mark("text")):
        shown = mark("text")
    if limit is None or len(shown) <= limit:
        return shown
    kept = shown[: max(limit - 1, 0)]
    opened = kept.rfind("[redacted: ")
    if opened >= 0 and "]" not in kept[opened:]:
        kept = kept[:opened]
    return (kept + "…")[:limit]


def _remember(text: str) -> None:
    """Keep that a short text holds nothing: a journal says the same things again and again, and is read often."""
    if len(text) <= _SHORT:
        if len(_CLEAN) >= _MOST:
            _CLEAN.clear()
        _CLEAN.add(text)


def masked(value: Json) -> Json:
    """Return a JSON value with its texts masked; its keys are ours."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, list):
        return [masked(item) for item in value]
    return {key: masked(item) for key, item in value.items()} if isinstance(value, dict) else value


def mark(name: str) -> str:
    """Return what stands in the place of something of that kind."""
    return f"[redacted: {name}]"


def _spans(text: str) -> list[tuple[int, int, str]]:
    """Return what to mask as (start, end, name), in order, none touching another's inside."""
    plain, places = _plain(text)
    # The one letter whose lower case is two characters: places have to stay where they are.
    lowered = plain.replace("\u0130", "i").lower()
    found: list[tuple[int, int, str]] = []
    for form in FORMS:
        for match in _matches(form, plain, lowered):
            group: str | int = "it" if "it" in match.re.groupindex else 0
            if form.check(match[group]):
                start, end = match.span(group)
                found.append((start, _before_colon(plain, start, end), form.name))
    if not found:
        return found
    # sorted() is stable: of two that start together, the one listed first in FORMS names both.
    merged: list[tuple[int, int, str]] = []
    for start, end, name in sorted(found, key=lambda span: span[0]):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
        else:
            merged.append((start, end, name))
    return merged if places is None else [(places[start], places[end - 1] + 1, name) for start, end, name in merged]


def _before_colon(text: str, start: int, end: int) -> int:
    """Return where something masked ends: the colon after it, before a space or nothing, is the sentence's."""
    ends = text[end - 1] == ":" and (end == len(text) or text[end].isspace())
    return end - 1 if ends and end - start > 1 else end


def _matches(form: Shape, plain: str, lowered: str) -> Iterator[re.Match[str]]:
    """Yield where a form's pattern matches; from each start at most once."""
    if not form.starts and form.needs in plain:
        yield from form.pattern.compiled.finditer(plain)
    for start in form.starts:
        at = lowered.find(start)
        while at >= 0:
            match = form.pattern.compiled.match(plain, at)
            if match:
                yield match
            at = lowered.find(start, match.end() if match else at + 1)


def _masked(text: str, spans: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, name in spans:
        pieces += [text[at:start], mark(name)]
        at = end
    return "".join(pieces) + text[at:]


_SPACES = str.maketrans("\n\r\t", "   ")
_BLANK = re.compile(
    r"[\u0300-\u036f\u115f\u1160\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u2800\ufe00-\ufe0f\ufe20-\ufe2f]"
)
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\r\t]+")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me"})


def _plain(text: str) -> tuple[str, list[int] | None]:
    """Return the text in NFKC without what is invisible, and where each of its characters stood; None if nowhere else.

    Character by character, so that a mark can be put where the disguised text was.
    """
    if text.translate(_SPACES).isprintable() and (
        text.isascii() or (unicodedata.is_normalized("NFKC", text) and not _BLANK.search(text))
    ):
        return text, None
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for unusual in _UNUSUAL.finditer(text):
        pieces.append(text[at : unusual.start()])
        places += range(at, unusual.start())
        at = unusual.end()
        for place, character in enumerate(unusual[0], unusual.start()):
            if unicodedata.category(character) in _INVISIBLE or _BLANK.match(character):
                continue
            folded = _BLANK.sub("", unicodedata.normalize("NFKC", character))
            pieces.append(folded)
            places += [place] * len(folded)
    pieces.append(text[at:])
    places += range(at, len(text))
    return "".join(pieces), places


def _luhn(digits: str) -> bool:
    """Whether a card number's check digit is right (ISO/IEC 7812-1)."""
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(two - 9 * (two > 9) for two in doubled)) % 10 == 0  # noqa: PLR2004


def _card(text: str) -> bool:
    """Whether a card number is in groups of digits, which may have an expiry date or a line's number beside it."""
    groups = re.split(r"[ -]", text)
    runs = ("".join(groups[first:last]) for first in range(len(groups)) for last in range(first + 1, len(groups) + 1))
    return any(13 <= len(run) <= 19 and run[0] in "23456" and _luhn(run) for run in runs)  # noqa: PLR2004


def _iban(text: str) -> bool:
    """Whether an account number with right check digits (ISO 13616, MOD 97-10) is there, before words in capitals."""
    groups = text.split(" ")
    packed = ("".join(groups[:last]) for last in range(1, len(groups) + 1))
    return any(
        15 <= len(number) <= 34  # noqa: PLR2004  # Norway's to the longest allowed
        and int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1
        for number in packed
    )


# What the tokens of makers start with that need no form of their own; as gitleaks has them, and distinctive.
_PREFIXES = re.compile(
    r"(?:^|[._~-])(?:(?:AGE-SECRET-KEY-1|AKCp|ATATT3|ATCTT3|BBDC-|CLOJARS_|EAA[A-Z]|EZAK|EZTK|FLWSECK|HRKU-|LTAI|NRAK-"
    r"|NRII-|NRJS-|PMAK-|SG[.][\w-]{16}|api_org_|atlasv1[.]|bedrock-api-key-|dckr_[a-z]+_|dnkey-|do[opr]_v1_"
    r"|dp[.](?:pt|st|ct|sa|scim|audit)[.]|dt0[a-z]01[.]|duffel_|eyJrIjoi|fio-u-|fm[12][ar]?_|fo1_|glc_|glsa_|hv[bsr][.]"
    r"|ico-|lin_(?:api|oauth)_|ntn_|ops_eyJ|p8e-|pat[A-Za-z0-9]{14}[.]|pn[ub]_|pplx-|pscale_|rdme_|rubygems_|s-s4t2|sc_"
    r"|sgp_|sha256~|shippo_|shp(?:at|ca|pa|ss)_|sm_[a-z]{3}_|snyk_|sntry[su]_|sq0(?:atp|csp|idp)-|tfp_|tk-us-|xkeysib-"
    r"|xsmtpsib-)[\w.~-]{6}"
    r"|API-[A-Z0-9]{26}|SK[0-9A-Fa-f]{32}|dapi[0-9a-f]{32}|key-[0-9a-f]{32}|pul-[0-9a-f]{40}|v1[.]0-[0-9a-f]{24}-)"
)


def _vendors(run: str) -> bool:
    """Whether a run of characters is a token of one of the makers that are told by its start."""
    return _PREFIXES.search(run) is not None and any(character.isdigit() for character in run)


def _both(*words: str) -> tuple[str, ...]:
    """Return words, each composed and as its separate jamo, in which macOS writes file names."""
    return tuple(form for word in words for form in (word, unicodedata.normalize("NFD", word)))


_NAMES = (
    "api key",
    "aws key",
    "bearer token",
    "card number",
    "credentials",
    "e-mail",
    "gitlab token",
    "github token",
    "iban",
    "jwt",
    "npm token",
    "one-time code",
    "password",
    "phone number",
    "private key",
    "pypi token",
    "registration number",
    "secret",
    "slack token",
    "stripe key",
    "text",
    "webhook secret",
)
# A value that is a mark already; of the very words, so that nobody hides a secret by dressing it as one.
_MASKED = r"(?!\[redacted:[ ](?:" + "|".join(re.escape(name) for name in _NAMES) + r")\])"
# A name and its value: password=x, "password": "x", 'password' => 'x', PASSWORD := x, \"password\": \"x\".
_IS = r"\\{0,3}+[\"'`]?+[ \t]{0,3}+(?::=|=>|==|[:=])[ \t\n]{0,4}+"
# To the end of the quotes; those that are themselves escaped, as in JSON within JSON, end at the next escaped one.
_QUOTED = (
    r"(?<=\\\")(?:[^\"\\\n]|\\(?!\"))++|(?<=(?<!\\)\")(?:[^\"\\\n]|\\.)++"
    r"|(?<=\\')(?:[^'\\\n]|\\(?!'))++|(?<=(?<!\\)')(?:[^'\\\n]|\\.)++|(?<=`)[^`\n]++"
)
# What a sentence goes on with, where a value would stand: "password: is missing".
_PROSE = (
    r"(?!(?:a|an|and|are|as|at|be|can|cannot|env|expired|field|file|for|give|has|in|input|is|it|may|missing|must|no|none"
    r"|not|null|of|or|required|set|should|string|that|the|this|to|true|false|unknown|use|value|was|will|write|wrong|you)"
    r"(?=[\s.,;)]|$))"
)
_I = re.IGNORECASE


def _any(*words: str) -> str:
    return "(?:" + "|".join(map(re.escape, words)) + ")"


# What we call a step for one token, as revoke@token:agent/ID or, at one of several systems, revoke@sso:token:agent/ID:
# its id there (RFC 9562) opens nothing.
_NAME_OF_A_STEP = (
    r"(?!(?:(?<=[a-z0-9]@)token:(?:[\w.@-]{1,200}+/)?|(?<=[a-z0-9]:)token:[\w.@-]{1,200}+/)"
    r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}(?![\w.+/=@-]))"
)


def _assigned(name: str, words: tuple[str, ...], bare: str, more: str = "", unless: str = "") -> Shape:
    """Return the form of a name with its value, masking the value: quoted to the quote's end, bare by `bare`."""
    value = rf"{_QUOTED}|(?<![\"'`])(?:\[redacted:[^\]\n]{{0,99}}+\]?|{bare})"
    pattern = rf"{unless}{_any(*words)}{more}[\w.-]{{0,24}}+{_IS}\\{{0,3}}+[\"'`]?+{_MASKED}(?P<it>{value})"
    return Shape(name, words, Later(pattern, _I))


_PASSWORDS = ("password", "passwd", "passphrase", "passcode", "pwd", *_both("비밀번호", "암호"))
_SECRETS = ("secret", "token", "credential", "signature", "_session", *_both("토큰", "비밀키"))
_KEYS = ("api", "access", "auth", "private", "account", "encryption", "signing", "service", "master", "license")
# An equals sign assigns. A colon is prose as often: then a value has to look like one.
_SECRET = (
    rf"(?:(?<==){_PROSE}[^\s\"'`&<>,;)}}\]]{{3,}}+"
    rf"|{_PROSE}(?=[^\s\d]{{0,200}}\d|[^\s]{{20}})[^\s\"'`&<>,;)}}\]]{{8,}}+)"
)
_CODES = (
    *(
        f"{kind}{gap}{code}"
        for kind in ("one-time", "one time", "verification", "security", "login")
        for gap in (" ", "-", "_")
        for code in ("code", "passcode", "password")
    ),
    "otp",
    *_both("인증번호", "일회용 코드", "일회용 비밀번호"),
)

FORMS: Final[tuple[Shape, ...]] = (
    Shape(
        "private key",
        ("-----begin",),
        Later(
            r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]++|-(?!----))*+"
            r"(?:-----END[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
        ),
    ),
    Shape(
        "aws key",
        ("akia", "asia", "abia", "acca", "a3t"),
        # The secret often follows its id, as in the console's CSV.
        Later(
            r"(?:A[KSBC][IC]A|A3T[A-Z0-9])[A-Z0-9]{16,124}+(?:[\s,;:|/\"'=]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?"
        ),
    ),
    _assigned(
        "aws key",
        ("secret", "session", "security"),
        r"[A-Za-z0-9/+=]{40,4096}+",
        more=r"[_.-]?(?:(?:access)?[_.-]?key|token)",
    ),
    Shape(
        "github token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        Later(r"gh[pousr]_[A-Za-z0-9]{36,255}+|ghs_[A-Za-z0-9._-]{36,1024}+|github_pat_[A-Za-z0-9_]{22,255}+"),
    ),
    Shape(
        "gitlab token",
        ("gl", "gr1348941"),
        Later(
            r"gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct)-[A-Za-z0-9_.-]{20,320}+|GR1348941[\w-]{20,64}+"
        ),
    ),
    Shape(
        "slack token",
        ("xox", "xapp-", "xwfp-"),
        Later(r"(?:xox[a-z](?:\.xox[a-z])?|xapp|xwfp)-[A-Za-z0-9-]{8,512}+", _I),
    ),
    Shape(
        "webhook secret",
        ("hooks.slack",),
        Later(r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?P<it>[\w/+-]{8,256}+)", _I),
    ),
    Shape("webhook secret", ("whsec_",), Later(r"whsec_[A-Za-z0-9+/_-]{8,512}+={0,2}")),
    Shape("stripe key", ("sk_", "rk_"), Later(r"[sr]k_(?:live|test|prod|org)_[A-Za-z0-9_]{10,255}+")),
    Shape("aws key", ("absk",), Later(r"ABSK[A-Za-z0-9+/]{64,320}+={0,2}")),
    Shape("api key", ("sk-",), Later(r"sk-[A-Za-z0-9_-]{20,256}+")),
    Shape("api key", ("aiza", "ya29."), Later(r"AIza[\w-]{35}|ya29\.[\w-]{20,1024}+")),
    Shape("api key", ("hf_",), Later(r"hf_[A-Za-z]{34}")),
    Shape("api key", (), Later(r"[A-Za-z0-9_.~-]{20,}+"), check=_vendors),
    Shape("npm token", ("npm_",), Later(r"npm_[A-Za-z0-9]{36,255}+")),
    Shape("pypi token", ("pypi-",), Later(r"pypi-[\w-]{16,1024}+")),
    Shape("jwt", ("eyj",), Later(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]*+\.[\w-]*+(?:\.[\w-]*+){0,2}", re.ASCII)),
    Shape(
        "bearer token",
        ("bearer",),
        # Twenty characters are no word; fewer need a digit to be a token.
        Later(r"bearer[\s:]{1,4}(?P<it>(?=[^\s\d]{0,19}\d|[\w.~+/=-]{20})[\w.~+/-]{6,}+=*+)", _I),
    ),
    Shape(
        "credentials",
        ("authorization",),
        Later(
            rf"authorization{_IS}\\{{0,3}}+[\"'`]?+(?:[a-z-]{{2,16}}[ \t]{{1,3}}+(?=\S{{5}}))?+{_MASKED}"
            r"(?P<it>[^\s\"'`]++)",
            _I,
        ),
    ),
    Shape("credentials", ("cookie",), Later(rf"cookie{_IS}{_MASKED}(?P<it>[^\n\"'`]++)", _I)),
    Shape(
        "credentials",
        ("basic ",),
        Later(r"basic[ \t]{1,3}(?P<it>(?=[^\s\d]{0,99}\d|\S{0,99}=)[A-Za-z0-9+/]{12,}+=*+)", _I),
    ),
    Shape("password", ("://",), Later(r"://(?P<it>[^\s/?#@\"'<>]{1,512}+)@")),
    Shape(
        "one-time code",
        _CODES,
        Later(
            rf"{_any(*_CODES)}[ \t]{{0,3}}+(?:[\"']?[:=]|is|는|은)?+[ \t\"'`*]{{0,4}}+{_MASKED}"
            r"(?P<it>(?=[A-Z-]{0,11}[0-9])[0-9A-Z-]{4,24}+)",
            _I,
        ),
    ),
    _assigned("password", _PASSWORDS, rf"{_PROSE}[^\s\"'`&<>]++"),
    _assigned("password", ("pass",), r"(?<==)[^\s\"'`&<>]++"),
    _assigned("secret", _SECRETS, _SECRET, unless=_NAME_OF_A_STEP),
    _assigned("secret", _KEYS, _SECRET, more=r"[_. -]?key"),
    # Any other key: only of something long, and never a digest of ours.
    _assigned("secret", ("key",), r"(?!sha256:)(?=[^\s\d]{0,64}\d)[A-Za-z0-9+/_.~=-]{16,4096}+"),
    Shape(
        "password",
        ("--pass", "--token", "--secret", "--api", "--pwd"),
        Later(
            rf"--(?:pass(?:word|wd|phrase)?|pwd|token|secret|api-?key)[ \t]{{1,3}}+[\"']?+{_MASKED}"
            r"(?P<it>[^\s\"'-][^\s\"']*+)",
            _I,
        ),
    ),
    Shape(
        "e-mail",
        (),
        # Only from where a run of its characters starts: else each of them would be a start of its own.
        Later(
            r"(?<![^\s@<>()\[\]{}:;,/\\\"'`|=])[^\s@<>()\[\]{}:;,/\\\"'`|=]++"
            r"@(?:[^\W_][\w-]{0,62}\.){1,8}(?:xn--[a-z0-9-]{2,40}|[^\W\d_]{2,24})",
            _I,
        ),
        needs="@",
    ),
    Shape(
        "registration number",
        (),
        # Without a dash thirteen digits may be a time in milliseconds: of these years, they are.
        Later(
            r"[0-9](?<![0-9].)(?:[0-9](?=[0-9]{4}[-\u2010-\u2015~ ])|(?<!1)[0-9]|(?<=1)[0-5])"
            r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[-\u2010-\u2015~ ]?[0-8][0-9]{6}(?![0-9])"
        ),
    ),
    Shape("phone number", ("+",), Later(r"\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}(?![0-9])")),
    Shape("phone number", ("01",), Later(r"(?<![0-9.])01[016789][-. ][0-9]{3,4}[-. ][0-9]{4}(?![0-9])")),
    Shape(
        "card number",
        (),
        Later(r"[2-6](?<![0-9A-Fa-f.].)(?:[ -]?[0-9]){12,30}(?![0-9A-Fa-f]|[.][0-9])"),
        check=_card,
    ),
    Shape(
        "iban",
        (),
        Later(r"[A-Z](?<![A-Z0-9].)[A-Z][0-9]{2}(?:[ ]?[A-Z0-9]){11,30}(?![A-Z0-9])"),
        check=_iban,
    ),
)
