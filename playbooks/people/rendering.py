"""A briefing in words: plain text, HTML, Slack's blocks and Markdown, in each language. Pure.

The templates are in `playbooks/messages/`: `message.j2` is the structure, with `ask.j2` for each plan that waits,
`form.*.j2` writes it for one kind of reader, `<language>/words.j2` says it. They run in a sandbox, on values that were
made fit for the output before they came: no template can forget to. A folder of the configuration may replace any of
them; one that does not work is reported, and at night the shipped one speaks instead.
"""

import re
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.bccache import Bucket
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel
from typing_extensions import override

from playbooks.people.briefing import Briefing, Command
from playbooks.people.contacts import Language
from playbooks.record.view import COMMANDS
from playbooks.text import escaping
from playbooks.text.escaping import Escape
from playbooks.text.own import kept
from playbooks.text.sentences import NONE, Sentences, said

_FOLDER = "messages"
_WORDS = {language: f"{language.value}/words.j2" for language in Language}
_BLANK = "¶"

SUBJECT = 150
"""Characters of a subject; Slack's header takes no more (https://docs.slack.dev/reference/block-kit/blocks/header-block/)."""

SECTION = 3000
"""Characters of a section (https://docs.slack.dev/reference/block-kit/blocks/section-block/)."""

BLOCKS = 45
"""Blocks of a message, which may have 50 with the buttons."""


class Output(StrEnum):
    """A kind of output."""

    TEXT = "text"
    HTML = "html"
    SLACK = "slack"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True)
class _Escapes:
    """How outside text, our own names and commands are made fit for an output."""

    text: Escape
    own: Escape
    command: Escape


# Jinja escapes HTML itself; what it gets is already free of links and invisible characters: it is the page of the text.
_ESCAPES = {
    Output.TEXT: _Escapes(escaping.plain, escaping.bare, escaping.command),
    Output.SLACK: _Escapes(escaping.slack, escaping.bare_slack, escaping.slack_command),
    Output.MARKDOWN: _Escapes(escaping.markdown, escaping.bare_markdown, escaping.command),
}


@dataclass(frozen=True, slots=True)
class OneTimeCode:
    """A code in a message that one person alone gets.

    Args:
        answer: `approve` or `deny`.
        summary: of the plan that it answers.
        code: itself.
        line: the command that asks for it, whole.
    """

    answer: str
    summary: str
    code: str
    line: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A briefing in words.

    Args:
        subject: one line.
        text: plain text.
        html: a whole document.
        blocks: Slack's Block Kit; never a code in them.
        loss: what of the configuration's own templates did not work, so that the shipped ones spoke; empty if all did.
    """

    subject: str
    text: str
    html: str
    blocks: tuple[dict[str, Any], ...]
    loss: str = ""


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """What is wrong with a template of the configuration.

    Args:
        name: as `ko/words.j2`.
        line: where, if it is known.
        message: what.
    """

    name: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"messages/{self.name}{f':{self.line}' if self.line else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Speech:
    """How something is said: in which language, by which templates and sentences, with which codes."""

    language: Language
    own: Mapping[str, str]
    words: Sentences
    codes: Sequence[OneTimeCode] = ()


class _BrokenTemplateError(Exception):
    """A template did not work."""

    def __init__(self, fault: TemplateFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@cache
def shipped() -> Mapping[str, str]:
    """Return the templates that ship with this version, by name."""
    folder = files("playbooks").joinpath(_FOLDER)
    names = ["message.j2", "ask.j2", "subject.j2", *(f"form.{form.value}.j2" for form in Output), *_WORDS.values()]
    return {name: folder.joinpath(*name.split("/")).read_text(encoding="utf-8") for name in names}


def render(
    briefing: Briefing,
    language: Language = Language.EN,
    *,
    own: Mapping[str, str] | None = None,
    words: Sentences = NONE,
    codes: Sequence[OneTimeCode] = (),
    forms: Collection[Output] = (Output.TEXT, Output.HTML, Output.SLACK),
) -> Rendered:
    """Return a briefing in words; whatever the configuration's own templates do, there is a message.

    Args:
        briefing: what there is to say.
        language: of the words.
        own: the configuration's templates, by name, that stand instead of shipped ones.
        words: what the systems say, in other languages.
        codes: one-time codes, for text and HTML alone.
        forms: what is needed; the others stay empty.
    """
    try:
        return _render(briefing, _Speech(language, own or {}, words, codes), forms)
    except _BrokenTemplateError as exc:
        if not own:
            raise
        return replace(_render(briefing, _Speech(language, {}, words, codes), forms), loss=str(exc))


def _render(briefing: Briefing, speech: _Speech, forms: Collection[Output]) -> Rendered:
    text = _Page(briefing, speech, Output.TEXT)
    subject = _line(text.written("subject.j2"))
    html = text.as_html().written() if Output.HTML in forms else ""
    slack = _Page(briefing, speech, Output.SLACK).written() if Output.SLACK in forms else ""
    return Rendered(
        subject=subject,
        text=_lines(text.written()),
        html=_document(html, speech.language, subject) if html else "",
        blocks=_blocks(slack),
    )


def markdown(
    briefing: Briefing,
    language: Language = Language.EN,
    *,
    own: Mapping[str, str] | None = None,
    words: Sentences = NONE,
) -> str:
    """Return a briefing as Markdown, for reports and Prefect.

    Args:
        briefing: what there is to say.
        language: of the words.
        own: the configuration's templates, by name.
        words: what the systems say, in other languages.
    """
    return _alone(briefing, _Speech(language, own or {}, words), Output.MARKDOWN, "message.j2")


def question(
    briefing: Briefing, language: Language, *, own: Mapping[str, str] | None = None, words: Sentences = NONE
) -> str:
    """Return the first plan that a briefing asks about, in lines of plain text.

    Args:
        briefing: what there is to say; it asks something.
        language: of the words.
        own: the configuration's templates, by name.
        words: what the systems say, in other languages.
    """
    return _alone(briefing, _Speech(language, own or {}, words), Output.TEXT, "ask.j2")


def _alone(briefing: Briefing, speech: _Speech, form: Output, template: str) -> str:
    try:
        return _lines(_Page(briefing, speech, form).written(template))
    except _BrokenTemplateError:
        if not speech.own:
            raise
        return _lines(_Page(briefing, replace(speech, own={}), form).written(template))


def faults(own: Mapping[str, str], samples: Iterable[Briefing]) -> list[TemplateFault]:
    """Return what is wrong with the configuration's templates: found before the night, not at three.

    Args:
        own: the templates, by name.
        samples: briefings that between them need every part of a template.
    """
    found: dict[str, TemplateFault] = {}
    for name in sorted(set(own) - set(shipped())):
        known = ", ".join(sorted(shipped()))
        found[name] = TemplateFault(name, None, f"no template is called that; there is {known}")
    for name in sorted(set(own) & set(shipped())):
        if fault := _static_fault(name, own[name]):
            found[name] = fault
    usable = {name: text for name, text in own.items() if name not in found}
    code = OneTimeCode("approve", "A plan", "0", "mcp-soar answer")
    for briefing, language in product(samples, Language):
        if not usable.keys() - found.keys():
            # What is left is as it ships.
            break
        speech = _Speech(language, usable, NONE, (code,))
        text = _Page(briefing, speech, Output.TEXT)
        pages = (text, text.as_html(), *(_Page(briefing, speech, one) for one in (Output.SLACK, Output.MARKDOWN)))
        for page, template in product(pages, ("message.j2", "subject.j2", *(["ask.j2"] if briefing.asks else []))):
            try:
                page.written(template)
            except _BrokenTemplateError as exc:
                found.setdefault(exc.fault.name, exc.fault)
    return list(found.values())


_GIVEN = frozenset({"b", "ask", "form", "words", "language"})


def _static_fault(name: str, text: str) -> TemplateFault | None:
    environment = ImmutableSandboxedEnvironment()
    environment.filters["at"] = _at
    try:
        tree = environment.parse(text, name)
        environment.compile(tree, name)
    except jinja2.TemplateSyntaxError as exc:
        return TemplateFault(name, exc.lineno, exc.message or "is not a template")
    strangers = sorted(meta.find_undeclared_variables(tree) - _GIVEN - set(environment.globals))
    if strangers:
        line = next((n for n, one in enumerate(text.splitlines(), 1) if re.search(rf"\b{strangers[0]}\b", one)), None)
        return TemplateFault(name, line, f"there is no variable {', '.join(strangers)}; there is b (the briefing)")
    return None


class _Page:
    """A briefing made fit for one kind of output, for every template that writes it."""

    def __init__(self, briefing: Briefing, speech: _Speech, form: Output) -> None:
        self._form, self._language, self._escapes = form, speech.language, _ESCAPES[form]
        self._words, self._prose = speech.words, briefing.prose
        self._templates = tuple(sorted(speech.own.items()))
        self._own = kept(briefing.own, self._escapes.text, self._escapes.own)
        self._briefing = _shown(briefing, self._text, self._escapes.command)
        codes = speech.codes if form in {Output.TEXT, Output.HTML} else ()
        self._briefing.codes = [
            SimpleNamespace(
                answer=code.answer,
                summary=self._text(code.summary),
                code=self._escapes.command(code.code),
                line=self._escapes.command(code.line),
            )
            for code in codes
        ]

    def as_html(self) -> "_Page":
        """Return a page of plain text as HTML, for which Jinja escapes what it holds."""
        page = copy(self)
        page._form = Output.HTML  # noqa: SLF001  # its own
        return page

    def _text(self, value: str) -> str:
        return self._own(self._escapes.text(said(value, self._language, self._words, prose=self._prose)))

    def written(self, template: str = "message.j2") -> str:
        """Return what a template makes of it.

        Raises:
            _BrokenTemplateError: if it makes nothing of it.
        """
        try:
            environment = _environment(self._templates, autoescape=self._form is Output.HTML)
            written = environment.get_template(template).render(
                b=self._briefing,
                ask=next(iter(self._briefing.asks), None),
                form=f"form.{self._form.value}.j2",
                words=_WORDS[self._language],
                language=self._language.value,
            )
        except jinja2.TemplateSyntaxError as exc:
            raise _BrokenTemplateError(
                TemplateFault(exc.name or template, exc.lineno, exc.message or "broken")
            ) from exc
        except Exception as exc:  # a template of the configuration can fail in any way, as by dividing by nothing
            raise _BrokenTemplateError(_located(exc, template)) from exc
        if not written.strip():
            # An empty page wakes somebody and tells them nothing.
            raise _BrokenTemplateError(TemplateFault(template, None, "it says nothing"))
        return written


def _located(exc: Exception, template: str) -> TemplateFault:
    """Return where a template failed: the innermost line of one that the traceback goes through."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(exc.__traceback__)]
    name, line = next(((name, line) for name, line in reversed(places) if name in shipped()), (template, None))
    message = getattr(exc, "message", None) or str(exc) or type(exc).__name__
    return TemplateFault(name, line, message)


_MOST = 100
"""Compiled templates that are remembered."""


class _Compiled(jinja2.BytecodeCache):
    """What was compiled in this process: whoever replaces one template has the others as they ship."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], Any] = {}

    @override
    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    @override
    def dump_bytecode(self, bucket: Bucket) -> None:
        if len(self._codes) >= _MOST:
            self._codes.clear()
        self._codes[bucket.key, bucket.checksum] = bucket.code


_COMPILED = {autoescape: _Compiled() for autoescape in (False, True)}


@lru_cache(maxsize=32)
def _environment(own: tuple[tuple[str, str], ...], *, autoescape: bool) -> jinja2.Environment:
    texts = {**shipped(), **dict(own)}

    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (texts[name], name, lambda: True) if name in texts else None

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        bytecode_cache=_COMPILED[autoescape],
        # Most templates are written once in a process: to look for what is constant takes longer than it saves.
        optimized=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["at"] = _at
    return environment


def _at(moment: datetime) -> str:
    """Return a moment for people; the house's times are UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_UNSAID = frozenset({"plan", "diffs", "voices"})
"""What no message has room for."""


def _shown(value: Any, escape: Escape, command: Escape) -> Any:  # noqa: ANN401  # whatever a briefing holds
    """Return a value for templates: models as plain objects, every text made fit; words of ours stay as they are."""
    if isinstance(value, Command):
        return SimpleNamespace(does=value.does, line=command(value.line))
    if isinstance(value, BaseModel):
        names = type(value).model_fields.keys() - _UNSAID
        fit = {name: command if name in COMMANDS else escape for name in names}
        return SimpleNamespace(**{name: _shown(getattr(value, name), fit[name], command) for name in names})
    if isinstance(value, Enum | datetime | int | float | None):
        return value
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {key: _shown(one, escape, command) for key, one in value.items()}
    return [_shown(one, escape, command) for one in value]


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SUBJECT else line[: SUBJECT - 1] + "…"


def _lines(text: str) -> str:
    """Return text without the empty lines that templates leave, with those that they mean."""
    lines = [line.strip() for line in text.splitlines()]
    kept = ["" if line == _BLANK else line for line in lines if line]
    shown = [line for n, line in enumerate(kept) if line or (n and kept[n - 1])]
    return "\n".join(shown).strip("\n") + "\n"


_HEAD = """\
<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
</head>
<body style="font-family:sans-serif;line-height:1.5;max-width:46em;margin:1em">
"""


def _document(body: str, language: Language, title: str) -> str:
    from markupsafe import escape  # noqa: PLC0415  # the one that Jinja itself escapes with

    lines = "\n".join(line.strip() for line in body.splitlines() if line.strip())
    return f"{_HEAD.format(language=language.value, title=escape(title))}{lines}\n</body>\n</html>\n"


def _blocks(text: str) -> tuple[dict[str, Any], ...]:
    """Return Slack's blocks of what the Slack form wrote."""
    blocks: list[dict[str, Any]] = []
    for kind, lines in _marked(text):
        if kind == "H":
            blocks.append({"type": "header", "text": {"type": "plain_text", "text": _fit(lines[0], SUBJECT)}})
        elif kind == "C":
            element = {"type": "mrkdwn", "text": _fit(" ".join(lines), SECTION), "verbatim": True}
            blocks.append({"type": "context", "elements": [element]})
        else:
            blocks += [
                {"type": "section", "text": {"type": "mrkdwn", "text": part, "verbatim": True}}
                for part in _parts(lines)
            ]
    if len(blocks) > BLOCKS:
        return (*blocks[: BLOCKS - 1], blocks[-1])
    return tuple(blocks)


def _marked(text: str) -> Iterator[tuple[str, list[str]]]:
    kind, lines = "S", list[str]()
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line[:3] in {"<H>", "<S>", "<C>"}:
            if lines:
                yield kind, lines
            kind, lines = line[1], []
            line = line[3:]  # noqa: PLW2901  # without its mark
        lines.append(line)
    if lines:
        yield kind, lines


def _parts(lines: list[str]) -> Iterator[str]:
    """Yield lines in parts that a section can hold."""
    part = ""
    for line in (_fit(line, SECTION) for line in lines):
        if part and len(part) + len(line) + 1 > SECTION:
            yield part
            part = ""
        part = f"{part}\n{line}" if part else line
    if part:
        yield part


def _fit(line: str, limit: int) -> str:
    """Return a line that is short enough, cut where no entity is torn and no code span stays open."""
    if len(line) <= limit:
        return line
    cut = re.sub(r"&[a-z]{0,4}$", "", line[: limit - 2])
    return cut + "…" + ("`" if cut.count("`") % 2 else "")
