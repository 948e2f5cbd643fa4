"""`inventory import`: what a gateway has, put into inventory.yaml for people to review; what they wrote stays.

Only what is new is added. What is gone at the gateway, or has another id by now, is named and left for people.
"""

import asyncio
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work.files import differing, settled, text_of
from flows.cli.work.inventory import FILL_IN
from flows.cli.work.novelties import Found, compare
from flows.service.settings import read_inventory, systems
from integrations import whole
from integrations.estate import IssuedToken, Survey, Surveyed
from integrations.hostile import printable
from integrations.secret import secret
from playbooks.estate.gateway import Gateway
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret
from playbooks.estate.upgrading import upgraded
from playbooks.strict import Slug, parse_yaml
from playbooks.text.insertion import added


class Wanted(NamedTuple):
    """What was asked for.

    Args:
        name: what the inventory calls the gateway.
        kind: which product it is, where the inventory does not have it yet; None for the usual one.
        url: its address, where the inventory does not have it yet.
        user: the administrator to sign in as, likewise.
        password: where the password is, as `env:NAME` or `file:PATH`; None to ask, or to use what is there.
        canary: the e-mail address of the canary, if it is not the usual one.
        make_canary: whether to make the canary at the gateway.
        dry_run: show, and write nothing.
        yes: do not ask.
    """

    name: str
    kind: str | None
    url: str | None
    user: str | None
    password: str | None
    canary: str | None
    make_canary: bool
    dry_run: bool
    yes: bool


def import_(out: Out, folder: Path, wanted: Wanted) -> Exit:
    """Look through a gateway, show what is new, and write it."""
    if not wanted.yes and not wanted.dry_run and not out.asks:
        raise Usage("there is nobody to ask: look at it with --dry-run, then write it with --yes")
    file = (folder / "inventory.yaml").resolve()
    inventory = read_inventory(folder)
    text = text_of(file)
    place = _Place(folder, inventory, wanted)
    gateway, password = place.gateway(), place.password(out)
    with out.waiting(f"reading gateway {wanted.name}"):
        seen = asyncio.run(systems().importers[gateway.kind](place.survey(gateway, password)))
    found = compare(inventory, wanted.name, gateway, seen.estate, own=seen.made)
    # What an earlier release wrote is first written as it is now: what is new has its place there.
    more = added(upgraded(text, file=str(file)).text, found.additions, file=str(file))
    if more != text:
        # What would be written has to be readable before it is shown.
        parse_yaml(Inventory, more, file=str(file), context=systems().context)
    lines = differing(text, more, str(file), "with what is new")
    if more == text:
        out.say("the gateway has nothing that inventory.yaml does not have", "good")
    written = more != text and settled(out, file, text, more, lines=lines, dry_run=wanted.dry_run, yes=wanted.yes)
    if written or more == text:
        place.keep(password)
        if seen.made:
            place.keep_canary(seen.made)
    _document(out, wanted, found, seen, lines, written=written)
    _tell(out, found, seen, place, lines=lines, written=written)
    return Exit.NO if found.gone or seen.estate.partial else Exit.OK


class _Place:
    """Where the gateway is, and how we get in.

    Args:
        folder: the configuration.
        inventory: as it is.
        wanted: what was asked for.
    """

    def __init__(self, folder: Path, inventory: Inventory, wanted: Wanted) -> None:
        self.folder, self.inventory, self.wanted = folder, inventory, wanted
        self.known = inventory.gateways.get(wanted.name)
        self.password_file = Path("secrets") / f"{wanted.name}-password"
        self.canary_file = Path("secrets") / f"{wanted.name}-canary"
        self._typed = False

    def gateway(self) -> Gateway:
        """Return the gateway as the inventory has it, or as it will.

        Raises:
            Usage: something is missing, or is not what the inventory says.
        """
        wanted = self.wanted
        if self.known:
            said = {"--url": (wanted.url, self.known.url), "--user": (wanted.user, self.known.user)}
            said["--kind"] = (wanted.kind, self.known.kind)
            said["--canary"] = (wanted.canary, self.known.canary.principal)
            for option, (new, old) in said.items():
                if new and new.rstrip("/") != old.rstrip("/"):
                    raise Usage(f"inventory.yaml says {old}, and {option} {new}: change it in inventory.yaml")
            if wanted.password:
                raise Usage(f"inventory.yaml names the password's place already: systems.{wanted.name}.password")
            return self.known
        try:
            TypeAdapter(Slug).validate_python(wanted.name)
        except ValidationError as exc:
            raise Usage(f"{wanted.name!r} cannot be a gateway's name: write a word such as main") from exc
        if not wanted.url or not wanted.user:
            raise Usage(
                f"inventory.yaml has no gateway {wanted.name} yet: write --url URL and --user ADMINISTRATOR, as in"
                f" `mcp-soar inventory import {wanted.name} --url https://gateway.example.com --user admin@example.com`"
            )
        url = wanted.url.rstrip("/")
        principal = wanted.canary or f"mcp-soar-canary@{wanted.user.rpartition('@')[2] or 'example.com'}"
        canary = {"principal": principal, "token": {"file": str(self.canary_file)}, "url": f"{url}/mcp/"}
        try:
            return Gateway.model_validate(
                {
                    "kind": self._kind(),
                    "url": url,
                    "user": wanted.user,
                    "password": self._given().model_dump(exclude_none=True),
                    "canary": canary,
                }
            )
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            raise Usage(f"{'.'.join(map(str, error['loc']))} cannot be that: {error['msg']}") from exc

    def _kind(self) -> str:
        kinds = list(systems().importers)
        kind = self.wanted.kind or kinds[0]
        if kind not in kinds:
            raise Usage(f"there is no kind of gateway {kind!r} that can be imported; there is {', '.join(kinds)}")
        return kind

    def survey(self, gateway: Gateway, password: str) -> Survey:
        """Return what is asked of a gateway."""
        return Survey(
            name=self.wanted.name,
            gateway=gateway,
            password=password,
            shell_password=self.shell_password,
            folder=self.folder,
            canary_path=self.canary_path,
            make_canary=self.wanted.make_canary and not self.wanted.dry_run,
            keep=self.keep_canary,
        )

    def _given(self) -> Secret:
        kind, _, rest = (self.wanted.password or f"file:{self.password_file}").partition(":")
        if kind not in {"env", "file"} or not rest:
            raise Usage("write --password env:VARIABLE or --password file:PATH; without it you are asked")
        if kind == "env":
            return Secret(env=rest)
        path = Path(rest).expanduser()
        # Paths in inventory.yaml are taken from its folder; one that was typed is meant from here.
        return Secret(file=str(path if not self.wanted.password or path.is_absolute() else path.resolve()))

    def password(self, out: Out) -> str:
        """Return the administrator's password: from where it is said to be, or typed by a person.

        Raises:
            Misconfigured: it is not there.
            Usage: there is nobody to ask.
        """
        what = f"systems.{self.wanted.name}.password"
        place = self.known.password if self.known else self._given()
        file = self.folder / self.password_file
        if self.known or self.wanted.password or file.exists():
            return secret(place if self.known or self.wanted.password else Secret(file=str(file)), what=what)
        if not out.asks:
            raise Usage(
                f"the password of {self.wanted.user}: write it to {file} (mode 0600), or say where it is with"
                " --password env:VARIABLE or --password file:PATH"
            )
        import getpass  # noqa: PLC0415  # only where there is somebody to type

        self._typed = True
        return getpass.getpass(f"Password of {self.wanted.user} at {self.wanted.url}: ", stream=None)

    def keep(self, password: str) -> None:
        """Keep a password that was typed where inventory.yaml says that it is."""
        if self._typed:
            _secret(self.folder / self.password_file, password)

    def keep_canary(self, token: IssuedToken) -> None:
        """Keep the canary's token where inventory.yaml says that it is."""
        if self.canary_path:
            _secret(self.canary_path, token.secret)

    @property
    def canary_path(self) -> Path | None:
        """The file that holds the canary's token; None if a variable does."""
        place = self.known.canary.token if self.known else Secret(file=str(self.canary_file))
        return None if place.file is None else self.folder / Path(place.file).expanduser()

    @property
    def shell_password(self) -> str:
        """The password as a shell finds it."""
        place = self.known.password if self.known else self._given()
        if place.env:
            return f'"${place.env}"'
        return f'"$(cat {shlex.quote(str((self.folder / Path(place.file or "").expanduser()).resolve()))})"'


def _secret(path: Path, value: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole.put(path, f"{value.strip()}\n".encode(), over=True)


def _document(out: Out, wanted: Wanted, found: Found, seen: Surveyed, lines: Sequence[str], *, written: bool) -> None:
    audits: list[schema.AuditRow] = [
        {"what": one.what, "setting": one.setting, "said": one.said, "on": one.on} for one in seen.audits
    ]
    document: schema.Imported = {
        "gateway": wanted.name,
        "written": written,
        "servers": found.servers,
        "offered": found.others,
        "principals": found.principals,
        "tokens": found.tokens,
        "credential_ids": found.own,
        "gone": found.gone,
        "notes": found.notes,
        "partial": seen.estate.partial,
        "audit": audits,
        "canary": {"state": seen.canary, "made": seen.made is not None, "commands": list(seen.commands)},
        "diff": "\n".join(lines),
    }
    out.document(document)


def _tell(out: Out, found: Found, seen: Surveyed, place: _Place, *, lines: Sequence[str], written: bool) -> None:
    wanted = place.wanted
    out.say()
    verb = "written" if written else "new"
    counts = ((len(found.servers), "server"), (len(found.principals), "principal"), (len(found.tokens), "token"))
    said = [f"{count} {what}{'s' if count > 1 else ''}" for count, what in counts if count]
    said += [f"{count} of what {server} offers" for server, count in found.others.items()]
    if said:
        out.say(f"{verb}: {', '.join(said)}; nothing of that is approved", "good")
    for line, style in _remarks(found, seen, wanted):
        out.say(line, style)
    out.say(f"canary: {seen.canary}", "warn" if seen.commands else "")
    if seen.commands:
        out.say(f"Make it with `mcp-soar inventory import {wanted.name} --make-canary`, or as an administrator:")
        for line in seen.commands:
            out.raw(line)
        out.say(f"and then `mcp-soar inventory import {wanted.name}` again, which notes its token's id.")
    if wanted.dry_run:
        out.say("Nothing was written: it was a dry run.")
    elif written:
        if any(FILL_IN in line for line in lines if line.startswith("+")):
            out.say(f"Next: fill in what is marked {FILL_IN.rstrip(':')} in {place.folder / 'inventory.yaml'}; then")
        for server in found.servers[:5]:
            out.raw(f'mcp-soar pins approve {server} --reviewed "what you looked at" --as NAME')
        out.raw("mcp-soar doctor")


def _remarks(found: Found, seen: Surveyed, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """Yield what people have to know of an import, each with its style."""
    yield from ((f"not read to the end: {printable(one, 500)}", "bad") for one in seen.estate.partial)
    yield from ((f"differs, and was left as it is: {one}", "warn") for one in found.gone)
    yield from ((one, "warn") for one in found.notes)
    for one in seen.audits:
        remedy = f"{one.setting}=true where the gateway is started: its logs are evidence"
        if one.on is None and not wanted.make_canary:
            remedy = f"`mcp-soar inventory import {wanted.name} --make-canary` tries it out; if it is off, set {remedy}"
        else:
            remedy = f"Set {remedy}"
        yield f"{one.what}: {one.said}{'' if one.on else f'. {remedy}'}", "" if one.on else "warn"
