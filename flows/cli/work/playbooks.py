"""`playbooks`: what there is, what it does, and whether it is right."""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

import playbooks
from flows.cli.exits import Exit
from flows.cli.output import NotFound, Out, span
from flows.cli.work import classes
from flows.service.settings import Configuration, shared_in, systems
from playbooks import measured
from playbooks.action import Action, Capture, Check
from playbooks.drill import Drill, amiss, belongs
from playbooks.errors import Misconfigured
from playbooks.estate.places import GATEWAY
from playbooks.playbook import SHARED, Bound, Parameters, Playbook, SharedSteps, Shelf, Step, When, parse, shipped
from playbooks.record.incident import Phase
from playbooks.strict import Fastest, parse_yaml, yaml_data

_KINDS = {"action": Action, "capture": Capture, "check": Check}
_WHEN = {
    When.LEAKING: "only while a cut leaks",
    When.NAMED: "only if the server itself is named, not a tool of it",
    When.CHOSEN: "only what a person chose",
    When.UNATTRIBUTED: "only what is named itself, while nobody is named who does it",
    When.CONTAINED: "only once it is contained",
}
_FAULT = re.compile(r"^\s*(?P<file>.+?):(?P<line>\d+): (?P<field>[^:\s]+): (?P<message>.*)$", re.DOTALL)


class Fault(NamedTuple):
    """Something wrong in a playbook.

    Args:
        line: where, 1-based; 0 if it is the whole file.
        field: dotted path or step.
        message: what to write.
    """

    line: int
    field: str
    message: str


def listing(out: Out, config: Configuration, *, table: bool = False) -> Exit:
    """Show what each class does in this installation, and where its playbook comes from.

    Args:
        out: where to say it.
        config: the installation's.
        table: as Markdown, to paste into a runbook.
    """
    ours = {book.class_: book.digest for book in shipped().values()}
    origins = {
        book.class_: "shipped" if ours.get(book.class_) == book.digest else "this configuration"
        for book in config.playbooks.values()
    }
    books = [
        {
            "id": book.id,
            "class": book.class_.value,
            "title": book.title,
            "origin": origins[book.class_],
            "digest": book.digest,
            "steps": sum(1 for _ in book.steps()),
        }
        for book in config.playbooks.values()
    ]
    took = measured.load()
    found = classes.rows(config.playbooks, config.policy, took)
    out.document({"playbooks": books, "classes": [classes.document(row) for row in found]})
    if table:
        for line in classes.markdown(found, took).splitlines():
            out.raw(line)
        return Exit.OK
    for row in found:
        out.say(f"{row.incident_class} ({origins.get(row.incident_class, 'no playbook')})", "head")
        out.fields(
            [
                ("contains", row.contains),
                ("automatic", row.automatic),
                ("waits for a person", row.waits),
                ("drill", row.drill if row.took else None),
            ]
        )
    return Exit.OK


def show(out: Out, config: Configuration, name: str) -> Exit:
    """Show one playbook."""
    found = [book for book in config.playbooks.values() if name in (book.id, book.class_.value)]
    if not found:
        known = ", ".join(sorted(config.playbooks)) or "none"
        raise NotFound(f"there is no playbook {name}; there are {known}")
    book = found[0]
    out.document(book.model_dump(mode="json", by_alias=True))
    out.say(f"{book.id}: {book.title}", "head")
    out.say(book.summary)
    out.fields(
        [
            ("first effect", f"within {span(book.goals.first_effect)}"),
            ("verified", f"within {span(book.goals.verified)}"),
            ("contain first", book.contain_first),
            ("tells people", ", ".join(book.notify)),
            ("digest", book.digest),
        ]
    )
    _steps(out, "confirm", book.confirm)
    for phase in Phase:
        _steps(out, phase.value, book.phases[phase])
    return Exit.OK


def _steps(out: Out, title: str, steps: tuple[Step, ...]) -> None:
    if not steps:
        return
    out.heading(title)
    for step in steps:
        each = f"{step.for_each}'s place in {systems().titles.get(step.at, step.at)}" if step.at else step.for_each
        what = step.task or f"{step.kind} {step.names} for each {each}"
        only = f" ({_WHEN[step.when]})" if step.when in _WHEN else ""
        if step.check and step.until:
            only += f" (a release waits until it is {step.until.replace('_', ' ')})"
        out.say(f"- {step.id}: {what}{only}")
        out.say(step.why, "dim", indent=4)


def files(folder: Path | None) -> list[Path]:
    """Return the playbooks that are there, and what they share: the shipped ones, and a configuration's own."""
    return [*shipped_files(), *(own_files(folder) if folder else ())]


def shipped_files() -> list[Path]:
    """Return the files of the shipped playbooks, and of what they share."""
    return _files(Path(playbooks.__file__).parent / "catalog")


def own_files(folder: Path) -> list[Path]:
    """Return the files of a configuration's own playbooks, and of what they share."""
    return _files(folder / "playbooks")


def _files(place: Path) -> list[Path]:
    return [*_in(place), *_in(place / SHARED)]


def _in(place: Path) -> list[Path]:
    return [file for file in sorted(place.glob("*.yaml")) if not file.name.endswith(".drill.yaml")]


def check(folder: Path) -> None:
    """Refuse a configuration's own playbook that could not be carried out; one that was never drilled may be right.

    Raises:
        Misconfigured: with file, line, field and what to write; all faults of the playbook in one message.
    """
    for path in _in(folder / "playbooks"):
        if faults := sorted(set(faults_of(path, drills=False))):
            line, field, message = faults[0]
            more = "".join(f"\n  {path}:{n}: {f}: {m}" for n, f, m in faults[1:])
            raise Misconfigured(message + more, file=str(path), line=line, field=field)


def lint(out: Out, paths: list[Path]) -> Exit:
    """Check playbooks and show each fault with its place."""
    rows = []
    for path in paths:
        if not path.is_file():
            raise NotFound(f"there is no file {path}")
        faults = sorted(set(faults_of(path)))
        rows.append({"file": str(path), "ok": not faults, "faults": [fault._asdict() for fault in faults]})
        for fault in faults:
            where = f"{path}:{fault.line}" if fault.line else str(path)
            out.say(f"{where}: {fault.field}: {fault.message}", "bad")
        if not faults:
            out.say(f"{path}: ok", "good")
    out.document({"files": rows})
    if not rows:
        out.say("there is no playbook to check")
    return Exit.OK if all(row["ok"] for row in rows) else Exit.NO


def faults_of(path: Path, *, drills: bool = True) -> Iterator[Fault]:
    """Yield everything that is wrong with a playbook.

    Args:
        path: its file.
        drills: and with its drill, beside it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        yield Fault(0, "file", f"cannot be read as UTF-8 text: {exc}")
        return
    shared = cache(shared_in(path.parent))
    try:
        book = (
            parse_yaml(SharedSteps, text, file=str(path))
            if path.parent.name == SHARED
            else parse(text, file=str(path), shared=shared)
        )
    except Misconfigured as exc:
        yield from _read(exc)
        return
    if path.stem != book.id:
        yield Fault(_line(text, ("id",)), "id", f"is {book.id}, and the file is called {path.name}: make them the same")
    if isinstance(book, SharedSteps):
        for number, step in enumerate(book.steps):
            yield from _step(text, ("steps", number), step)
        return
    written = list(_written(path, text, book, shared))
    for place, step, where in written:
        for fault in _step(text, place, step):
            yield fault._replace(message=f"{where}: {fault.message}") if where else fault
    if drills:
        yield from _drills(path, text, book, written)


_Written = tuple[tuple[str | int, ...], Step, str]


def _written(path: Path, text: str, book: Playbook, read: Shelf) -> Iterator[_Written]:
    """Yield every step with its place in the file, and the file in which it stands if that is another one."""
    written = yaml_data(text, file=str(path))
    places = [("confirm",), *(("phases", phase.value) for phase in Phase)]
    for place in places:
        steps = iter(book.confirm if place == ("confirm",) else book.phases[Phase(place[-1])])
        items = written.get("confirm", ()) if place == ("confirm",) else written["phases"][place[-1]]
        for number, item in enumerate(items):
            name = item.get("use")
            for _ in read(name).steps if name else (item,):
                yield (*place, number), next(steps), f"{SHARED}/{name}.yaml" if name else ""


def _read(exc: Misconfigured) -> Iterator[Fault]:
    first, *more = str(exc).split("\n  ")
    for part in (first, *more):
        found = _FAULT.match(part)
        if found:
            yield Fault(int(found["line"]), found["field"], found["message"])
        else:
            yield Fault(exc.line or 0, exc.field or "document", part.removeprefix(f"{exc.file}:{exc.line}: "))


def _step(text: str, place: tuple[str | int, ...], step: Step) -> Iterator[Fault]:  # noqa: C901  # one fault after another
    if step.names is None:
        return
    line, field = _line(text, (*place, step.kind)), f"{step.id}.{step.kind}"
    try:
        found = systems().step(step.names)
    except Misconfigured as exc:
        yield Fault(line, field, str(exc))
        return
    if not issubclass(found, _KINDS[step.kind]):
        kind = next(name for name, base in _KINDS.items() if issubclass(found, base))
        yield Fault(line, field, f"{step.names} is no {step.kind}: write `{kind}: {step.names}`")
        return
    known = found.model_fields
    if step.at and (said := _misplaced(step, known)):
        yield Fault(_line(text, (*place, "at")), f"{step.id}.at", said)
    for name in step.with_:
        if name not in known:
            where = _line(text, (*place, "with", name))
            yield Fault(where, f"{step.id}.with.{name}", f"{step.names} takes {', '.join(known) or 'no parameters'}")
    for name, info in known.items():
        if info.is_required() and name not in {*step.with_, *step.binds}:
            what = f"{step.names} needs {name}, which a {step.for_each} has not; write `{name}: …` for it"
            yield Fault(line, f"{step.id}.with", what)
    literals = {name: value for name, value in step.with_.items() if not isinstance(value, Bound) and name in known}
    taken = Parameters(tuple(step.with_.items()), tuple((name, "x") for name in step.binds)).of(found)
    filled = {name: "x" for name in known if name in taken} | literals
    try:
        found.model_validate(filled)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            name = str(error["loc"][0]) if error["loc"] else ""
            if name in literals:
                yield Fault(_line(text, (*place, "with", name)), f"{step.id}.with.{name}", str(error["msg"]))
            elif not name:
                yield Fault(line, f"{step.id}.with", str(error["msg"]).removeprefix("Value error, "))


def _misplaced(step: Step, takes: Collection[str]) -> str:
    there = systems().titles
    if step.at not in there:
        return f"no kind of system is {step.at}; there is {', '.join(sorted(there))}"
    return (
        ""
        if step.at == GATEWAY or "system" in takes
        else f"{step.names} takes no `system`, so that it cannot be told where; leave it out"
    )


def _drills(path: Path, text: str, book: Playbook, steps: Iterable[_Written]) -> Iterator[Fault]:
    """A cut that was never drilled is a hope."""
    cuts = [(at, step) for at, step, _ in steps if at[:2] == ("phases", "cut") and step.action]
    drilled: set[str] = set()
    for drill in sorted(one for one in path.parent.iterdir() if belongs(one.name, path.stem)):
        try:
            written = drill.read_text(encoding="utf-8")
            exercise = parse_yaml(Drill, written, file=str(drill))
        except (OSError, UnicodeDecodeError) as exc:
            yield Fault(0, "drill", f"{drill.name} cannot be read as UTF-8 text: {exc}")
            return
        except Misconfigured as exc:
            yield from (Fault(0, "drill", f"{drill.name}:{line}: {at}: {what}") for line, at, what in _read(exc))
            return
        for place, what in amiss(exercise, book):
            field = ".".join(map(str, place))
            yield Fault(0, "drill", f"{drill.name}:{_line(written, place)}: {field}: {what}")
        drilled |= exercise.tries
    for at, step in cuts:
        if step.id not in drilled:
            line = _line(text, (*at, "id"))
            name = path.with_suffix(".drill.yaml").name
            yield Fault(line, step.id, f"this cut has no drill: write {name} beside it, and name {step.id} there")


@lru_cache(maxsize=8)
def _tree(text: str) -> Any:  # noqa: ANN401  # a node, or None
    """Return a document's nodes: each step of it asks for lines of its own, and to parse it takes a while."""
    return yaml.compose(text, Loader=Fastest)


def _line(text: str, place: tuple[str | int, ...]) -> int:
    """Return the line on which a value's key stands; that of the nearest thing around it if it has none."""
    node: Any = _tree(text)
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == part), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
