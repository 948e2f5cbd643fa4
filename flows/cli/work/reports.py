"""`report` and `handover`: have the document made, and write it where it is wanted."""

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.output import Out, Usage
from flows.cli.work import records, spelled
from flows.cli.work.spelled import Spelling
from flows.reading import reports, streams
from flows.reading.reports import YEAR, End
from flows.report.document import (
    Block,
    Commands,
    Diff,
    Document,
    Facts,
    Listing,
    Picture,
    Questions,
    Section,
    Table,
    Text,
    Warn,
    digest,
)
from flows.service.settings import Configuration
from integrations import whole
from playbooks.errors import Refused, Transient
from playbooks.strict import Seconds, now

_ID = re.compile(r"inc-\d{4}-\d{6,}")
_FORMS = {".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".pdf": "pdf"}
_SPAN: TypeAdapter[float] = TypeAdapter(Seconds)
_COLUMNS = 4
"""Columns of a table that 80 characters have room for."""


class Target(NamedTuple):
    """Where a report goes, and as what.

    Args:
        form: `text`, `md`, `html` or `pdf`; None if nothing was said.
        file: where to; None for stdout.
        force: write over what is there.
    """

    form: str | None
    file: Path | None
    force: bool


def target(form: str | None, file: Path | None, *, force: bool) -> Target:
    """Return where a report goes, before anything is read for it.

    Raises:
        Usage: form and ending say different things, a PDF for a terminal, text for a file, or a file that is there.
    """
    if form == "text" and file is not None:
        raise Usage("text is as wide as the terminal that reads it: leave --out away, or say --form md")
    ending = _FORMS.get(file.suffix.lower()) if file else None
    if file is not None and form is None and ending is None:
        raise Usage(f"{file} ends in neither .md, .html nor .pdf: say which with --form")
    if form and ending and form != ending:
        raise Usage(f"--form {form}, and {file} ends in {file.suffix if file else ''}: which of the two?")
    if form == "pdf" and file is None:
        raise Usage("a PDF is no text: add --out FILE.pdf")
    if file is not None and not force and os.path.lexists(file):
        raise Usage(f"{file} is there already; --force writes over it")
    return Target(form or ending, file, force)


def span_of(text: str) -> timedelta:
    """Return a length of time, written as 90m, 12h or 7d.

    Raises:
        Usage: it is none, or it is longer than a year.
    """
    try:
        seconds = _SPAN.validate_python(text)
    except ValidationError as exc:
        raise Usage(f"{text!r} is no length of time: write it as 90m, 12h or 7d") from exc
    if not 0 < seconds <= YEAR.total_seconds():
        raise Usage(f"{text} is not more than nothing and at most a year")
    return timedelta(seconds=seconds)


def incident(out: Out, config: Configuration, target: Target, given: str) -> None:
    """Write the report of an incident."""
    document, witness, name = asyncio.run(_incident(config, given))
    _write(out, target, document, witness, name)


def handover(out: Out, config: Configuration, target: Target, *, since: timedelta) -> None:
    """Write what the next shift has to know."""
    document, witness, spellings = asyncio.run(_handover(config, since))
    _write(out, target, document, witness, "handover", spellings)


def week(out: Out, config: Configuration, target: Target, *, older: timedelta) -> None:
    """Write the report of the last seven days."""
    with out.waiting("reading the journal"):
        document, witness = asyncio.run(_week(config, older))
    _write(out, target, document, witness, "week")


Spellings = Mapping[str, Spelling]
"""By incident, what a terminal spells out of it."""


async def _incident(config: Configuration, given: str) -> tuple[Document, End, str]:
    async with records.opened(config) as journal:
        name = await streams.find(journal, given)
        return *await reports.incident(journal, config, name), name


async def _handover(config: Configuration, since: timedelta) -> tuple[Document, End, Spellings]:
    async with records.opened(config) as journal:
        document, tip, states = await reports.handover(journal, config, since)
    return document, tip, {state.id: spelled.of(state, config.inventory) for state in states}


async def _week(config: Configuration, older: timedelta) -> tuple[Document, End]:
    async with records.opened(config) as journal:
        return await reports.week(journal, config, older)


def _write(  # noqa: PLR0917  # what is written, where to
    out: Out, target: Target, document: Document, head: End, subject: str, spellings: Spellings = MappingProxyType({})
) -> None:
    # The next shift reads where it stands; a report is read by a person where there is a terminal.
    read_here = target.form is None and (subject == "handover" or sys.stdout.isatty())
    if target.file is None and not out.as_json and (target.form == "text" or read_here):
        _show(out, _spelled(document, spellings))
        return
    form = "md" if target.form in {None, "text"} else target.form
    data = _written(document, form)
    if target.file is not None:
        _save(target.file, data, force=target.force)
    out.document(_described(target, document, head, subject, form, data))
    if out.as_json:
        return
    if target.file is None:
        sys.stdout.write(data.decode())
    where = f"{target.file}, mode 0600" if target.file else form
    out.note(f"{where}: {len(data)} bytes, {digest(data)}")


def _written(document: Document, form: str) -> bytes:
    if form == "pdf":
        from flows.report.pdf import pdf  # noqa: PLC0415  # whoever reads at a terminal needs none of it

        return pdf(document, made=now())
    from flows.report.written import html, markdown  # noqa: PLC0415  # likewise

    return (html(document) if form == "html" else markdown(document)).encode()


def _described(target: Target, document: Document, head: End, subject: str, form: str, data: bytes) -> schema.Report:  # noqa: PLR0917  # what the document holds, in its order
    return {
        "subject": subject,
        "title": document.title,
        "head": head[0] if head else None,
        "head_hash": head[1] if head else None,
        "form": form,
        "file": str(target.file) if target.file else None,
        "bytes": len(data),
        "digest": digest(data),
        "text": None if target.file or form == "pdf" else data.decode(),
        "made": [list(pair) for pair in document.made],
        "lead": [_block(block) for block in document.lead],
        "sections": [
            {"title": section.title, "blocks": [_block(block) for block in section.blocks]}
            for section in document.parts
        ],
    }


def _block(block: Block) -> dict[str, object]:
    return {"kind": block.kind, **asdict(block)}


def _save(file: Path, data: bytes, *, force: bool) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        Refused: it is there and is not to be written over.
        Transient: it cannot be written.
    """
    try:
        whole.put(file, data, over=force)
    except FileExistsError as exc:
        raise Refused(f"{file} is there already; --force writes over it") from exc
    except OSError as exc:
        raise Transient(f"{file} cannot be written: {exc.strerror}") from exc


def _spelled(document: Document, spellings: Spellings) -> Document:
    """Return a document for the terminal: of each incident its own is spelled out, where it is said."""

    def said(text: str, about: str) -> str:
        named = _ID.search(about)
        spelling = spellings.get(named[0]) if named else None
        return spelling(text) if spelling else text

    def shown(block: Block) -> Block:
        if isinstance(block, Text | Warn):
            return replace(block, text=said(block.text, block.text))
        if isinstance(block, Table):
            # What changed begins with when.
            rows = [[said(cell, " ".join(row[:2])) for cell in row] for row in block.rows]
            return replace(block, rows=rows)
        return block

    sections = [Section(one.title, [shown(block) for block in one.blocks]) for one in document.sections]
    return document._replace(lead=[shown(block) for block in document.lead], sections=sections)


def _show(out: Out, document: Document) -> None:
    """Show a document on a terminal, or to whatever reads plain text."""
    out.say(document.title, "head")
    out.fields(document.made)
    out.say()
    for block in document.lead:
        _show_block(out, block)
    for section in document.parts:
        out.heading(section.title)
        for block in section.blocks:
            _show_block(out, block, section.title)


def _show_block(out: Out, block: Block, title: str = "") -> None:
    match block:
        case Text(text) | Warn(text):
            out.say(text, "bad" if block.kind == "warn" else "")
        case Listing(points) | Questions(_, points):
            for point in points:
                out.say(f"- {point}")
        case Commands(lines) | Diff(_, lines):
            _show_lines(out, block.caption if isinstance(block, Diff) else "", lines)
        case Facts(_, rows):
            out.fields(rows)
        case Table(caption, heads, rows, empty):
            _show_table(out, "" if caption == title else caption, heads, rows, empty)
        case Picture():
            # The table after it says the same.
            pass


def _show_lines(out: Out, caption: str, lines: Sequence[str]) -> None:
    if caption:
        out.say(f"{caption}:")
    for line in lines:
        out.raw(f"  {line}")


def _show_table(out: Out, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Show a table: with few columns as one, else each row under its first cell, so that 80 columns are enough."""
    if caption:
        out.say(caption if rows else f"{caption}: {empty}", "" if rows else "dim")
    if not rows:
        if not caption:
            out.say(empty, "dim")
    elif len(heads) <= _COLUMNS:
        out.table(heads, rows)
    else:
        for row in rows:
            out.say(row[0], "head")
            out.fields([(f"  {head}", cell) for head, cell in zip(heads[1:], row[1:], strict=True)])
