"""`enroll`, `unenroll`, `people`: who may ask for what, kept in people.yaml."""

import asyncio
import base64
import hashlib
from datetime import datetime
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.options import key_file
from flows.cli.output import NotFound, Out, Usage, moment, precise
from flows.cli.work import records
from flows.service.access import missing
from flows.service.settings import Configuration, present
from integrations import whole
from integrations.journal.store import Journal
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.gate.policy import Policy
from playbooks.people.request import People, Person
from playbooks.record.journal import SYSTEM
from playbooks.strict import Name, now, parse_yaml

ROLES = ("responder", "approver", "auditor", "reviewer")
_TWO = 2
_HEAD = """\
# Who may ask for what, written by `mcp-soar enroll` and `unenroll`; review changes like code. Read anew for each
# request: whoever is removed here is nobody from then on, and approvals of theirs that had no effect yet do not count.
# Roles: responder (respond, deny, release, close, stop, and everything on call), approver (that too, except respond;
# approve, resume, unhold), auditor (hold), reviewer (pins approve), or whichever policy.yaml has review.
"""


def people_text(people: People) -> str:
    """Return `people.yaml`."""
    document = people.model_dump(mode="json")
    document["people"] = {name: document["people"][name] for name in sorted(document["people"])}
    return _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def enroll(  # what enrolling a person needs
    out: Out, folder: Path, name: str, *, roles: list[str], key: Path | None, public: Path | None, replace: bool
) -> Exit:
    """Add a person's key to people.yaml, making the key if there is none yet."""
    known = _roles(folder)
    strange = [role for role in roles if role not in known]
    if strange or not roles:
        raise Usage(
            f"write --role {' or --role '.join(known)}" + (f"; {', '.join(strange)} is none" if strange else "")
        )
    if key is not None and public is not None:
        raise Usage(
            "write --key FILE for a key of this machine, or --public FILE for somebody else's public key; not both"
        )
    try:
        name = TypeAdapter(Name).validate_python(name)
    except ValidationError as exc:
        raise Usage(f"{name!r} cannot be a person's name: {exc.errors(include_url=False)[0]['msg']}") from exc
    file, people = _read(folder)
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
    _write(file, People(people={**people.people, name: entry}))
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
    else:
        out.say(f"{name} signs with the private half: --key FILE, or ssh-agent (`ssh-add FILE`; `--key agent`).")
    out.say("Responders on other machines need the same people.yaml.")
    return Exit.OK


def _roles(folder: Path) -> tuple[str, ...]:
    """Return the roles that there are: ours, and those which the policy lets review."""
    file = folder / "policy.yaml"
    try:
        policy = parse_yaml(Policy, file.read_text(encoding="utf-8"), file=str(file))
    except (OSError, UnicodeDecodeError, Misconfigured):
        return ROLES
    return tuple(dict.fromkeys((*ROLES, *policy.review.roles)))


def unenroll(out: Out, folder: Path, name: str) -> Exit:
    """Take a person out of people.yaml."""
    file, people = _read(folder)
    if name not in people.people:
        raise NotFound(f"{name} is not enrolled; enrolled: {', '.join(sorted(people.people)) or 'nobody'}")
    left = People(people={who: person for who, person in people.people.items() if who != name})
    _write(file, left)
    approvers = sum("approver" in person.roles for person in left.people.values())
    out.document({"name": name, "file": str(file), "left": sorted(left.people)})
    out.say(f"{name} is nobody from now on: {file}")
    out.say("What they approved and had no effect yet does not count, nor what they suppressed or lent.")
    if approvers < _TWO:
        out.say(f"{approvers} approvers are left: whoever asks cannot approve, and ending a stop takes two", "warn")
    out.say("Responders on other machines need the same people.yaml.")
    return Exit.OK


def listing(out: Out, config: Configuration) -> None:
    """Show who is enrolled, and whose voice is lent to whom."""
    people = config.people().people
    lent = asyncio.run(_lent(config))
    rows: list[schema.PersonRow] = [
        {
            "name": name,
            "roles": list(person.roles),
            "enrolled_at": precise(person.enrolled_at),
            "key": person.key,
            "fingerprint": fingerprint(person),
            "speaks_for": [{"name": by, "until": precise(until)} for (by, to), until in lent.items() if to == name],
        }
        for name, person in sorted(people.items())
    ]
    out.document({"people": rows})
    out.table(
        ("who", "roles", "since!", "key, as ssh-add -l shows it"),
        [
            (row["name"], "\n".join(_said(row)), moment(people[row["name"]].enrolled_at), row["fingerprint"])
            for row in rows
        ],
        empty="nobody is enrolled: `mcp-soar enroll NAME --role responder --role approver`",
    )


def _said(row: schema.PersonRow) -> list[str]:
    lent = [f"speaks for {one['name']} until {one['until']}" for one in row["speaks_for"]]
    return [", ".join(row["roles"]), *lent]


def fingerprint(person: Person) -> str:
    """Return a key's fingerprint as OpenSSH writes it (RFC 4253, 6.6; SHA-256, base64 without padding)."""
    raw = base64.b64decode(person.key.removeprefix("ed25519:"))
    blob = b"\x00\x00\x00\x0bssh-ed25519" + len(raw).to_bytes(4, "big") + raw
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


async def _lent(config: Configuration) -> dict[tuple[str, str], datetime]:
    """Return the voices that are lent now, as (whose, to whom) → until when; none where no journal is yet."""
    if missing(config) is not None:
        return {}
    async with records.opened(config) as journal:
        return await lent(journal, config.people())


async def lent(journal: Journal, people: People) -> dict[tuple[str, str], datetime]:
    """Return the voices that are lent now, as the journal says: (whose, to whom) → until when."""
    latest = dict[tuple[str, str], datetime]()
    for entry in (item.parsed() for item in await journal.read(SYSTEM)):
        if entry.kind == "delegated" and {entry.body["by"], entry.body["to"]} <= people.people.keys():
            latest[entry.body["by"], entry.body["to"]] = datetime.fromisoformat(entry.body["until"])
    return {pair: until for pair, until in latest.items() if until > now()}


def _read(folder: Path) -> tuple[Path, People]:
    present(folder)
    file = folder / "people.yaml"
    return file, parse_yaml(People, file.read_text(encoding="utf-8"), file=str(file)) if file.exists() else People()


def _write(file: Path, people: People) -> None:
    written = people_text(people)
    if parse_yaml(People, written, file=str(file)) != people:
        raise Refused(f"{file} would not say what was meant; nothing was written")
    whole.put(file, written.encode(), mode=0o644, over=True)
