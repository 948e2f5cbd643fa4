"""`init`: a configuration folder to start from, valid as it is. `enroll`: who may ask for what."""

import base64
import os
import secrets
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.cli.exits import Exit
from flows.cli.options import key_file
from flows.cli.output import Out, Usage
from flows.cli.work.templates import FILES, GITIGNORE, README
from flows.settings import read
from integrations.siem.source import new_secret
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.request import People, Person
from playbooks.strict import Name, now, parse_yaml

ROLES = ("responder", "approver", "auditor")
SOURCE = "generic"
_PEOPLE_HEAD = """\
# Who may ask for what, written by `mcp-soar enroll`; review changes like code. Read anew for each request: whoever is
# removed here is nobody from then on. Roles: responder (respond, deny, release, close, stop), approver (approve, deny,
# release, close, stop, resume), auditor (none of it).
"""


def init(out: Out, folder: Path) -> Exit:
    """Write a configuration folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is there and not empty; nothing in it was touched. Name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("keys", "secrets", "state"):
            (folder / name).mkdir(mode=0o700)
        for name, text in {
            **FILES,
            "people.yaml": people_text(People()),
            ".gitignore": GITIGNORE,
            "README.txt": README,
        }.items():
            write(folder / name, text, mode=0o644)
        write(folder / "secrets" / SOURCE, new_secret() + "\n", mode=0o600)
        key = SigningKey.generate(folder / "keys" / "responder.key")
        write(folder / "keys" / "responder.pub", key.public.pem.decode(), mode=0o644)
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


def write(path: Path, text: str, *, mode: int) -> None:
    """Write a file so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # The umask may have taken something away.
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def people_text(people: People) -> str:
    """Return `people.yaml`."""
    document = people.model_dump(mode="json")
    document["people"] = {name: document["people"][name] for name in sorted(document["people"])}
    return _PEOPLE_HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def enroll(  # noqa: C901  # what enrolling a person needs
    out: Out, folder: Path, name: str, *, roles: list[str], key: Path | None, public: Path | None, replace: bool
) -> Exit:
    """Add a person's key to people.yaml, making the key if there is none yet."""
    if not folder.is_dir():
        raise Misconfigured("there is no such folder; `mcp-soar init` makes one", file=str(folder))
    strange = [role for role in roles if role not in ROLES]
    if strange or not roles:
        raise Usage(
            f"write --role {' or --role '.join(ROLES)}" + (f"; {', '.join(strange)} is none" if strange else "")
        )
    if key is not None and public is not None:
        raise Usage(
            "write --key FILE for a key of this machine, or --public FILE for somebody else's public key; not both"
        )
    try:
        name = TypeAdapter(Name).validate_python(name)
    except ValidationError as exc:
        raise Usage(f"{name!r} cannot be a person's name: {exc.errors(include_url=False)[0]['msg']}") from exc
    file = folder / "people.yaml"
    people = parse_yaml(People, file.read_text(encoding="utf-8"), file=str(file)) if file.exists() else People()
    if name in people.people and not replace:
        raise Refused(f"{name} is enrolled already; --replace takes the old key and roles away")
    path, made = None, False
    if public is not None:
        half = PublicKey.load(public)
    else:
        path = key or key_file(name)
        made = not path.exists()
        if made:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = (SigningKey.generate(path) if made else SigningKey.load(path)).public
    text = "ed25519:" + base64.b64encode(half.raw).decode()
    others = [who for who, person in people.people.items() if person.key == text and who != name]
    if others:
        raise Refused(f"that key is {others[0]}'s: two people with one key would count as two. Make another")
    entry = Person(key=text, roles=tuple(dict.fromkeys(roles)), enrolled_at=now().replace(microsecond=0))
    grown = People(people={**people.people, name: entry})
    written = people_text(grown)
    if parse_yaml(People, written, file=str(file)) != grown:
        raise Refused(f"{file} would not say what was meant; nothing was written")
    write(file, written, mode=0o644)
    replaced = name in people.people
    out.document(
        {
            "name": name,
            "roles": list(entry.roles),
            "key": str(path) if path else None,
            "public": text,
            "file": str(file),
            "replaced": replaced,
        }
    )
    out.say(
        f"{name} is enrolled as {', '.join(entry.roles)} in {file}"
        + ("; the key before counts no more" if replaced else "")
    )
    if path is not None:
        out.say(f"{'A new key was made' if made else 'The key'}: {path}. It signs for {name}: keep it to yourself.")
    out.say("Responders on other machines need the same people.yaml.")
    return Exit.OK
