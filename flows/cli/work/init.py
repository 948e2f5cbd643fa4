"""`init`: a configuration folder to start from, valid as it is."""

from pathlib import Path

from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work.examples import examples
from flows.cli.work.people import people_text
from flows.cli.work.templates import FILES, GITIGNORE, README
from flows.service.settings import read
from integrations import whole
from integrations.siem.source import new_secret
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.people.request import People
from playbooks.strict import now

SOURCE = "generic"


def init(out: Out, folder: Path) -> Exit:
    """Write a configuration folder."""
    if folder.exists() and (not folder.is_dir() or any(not _of_a_person(path) for path in folder.iterdir())):
        raise Refused(f"{folder} is there and not empty; nothing in it was touched. Name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("keys", "secrets", "state", "playbooks"):
            (folder / name).mkdir(mode=0o700)
        for name, text in {
            **FILES,
            **examples(now()),
            "people.yaml": people_text(People()),
            ".gitignore": GITIGNORE,
            "README.txt": README,
        }.items():
            whole.put(folder / name, text.encode(), mode=0o644, over=True)
        whole.put(folder / "secrets" / SOURCE, f"{new_secret()}\n".encode(), over=True)
        key = SigningKey.generate(folder / "keys" / "responder.key")
        whole.put(folder / "keys" / "responder.pub", key.public.pem, mode=0o644, over=True)
    except OSError as exc:
        raise Misconfigured(f"cannot be written: {exc.strerror}", file=str(exc.filename or folder)) from exc
    read(folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    out.document({"folder": str(folder), "files": files})
    out.say(f"{folder} is ready and valid as it is:")
    for name in files:
        out.say(name, indent=2)
    out.say(f"What comes next stands in {folder / 'README.txt'}.")
    return Exit.OK


def _of_a_person(path: Path) -> bool:
    """Whether something lies in a folder because people's keys are kept below the place of a default configuration."""
    return path.name == "people" or (path.suffix == ".key" and path.is_file())
