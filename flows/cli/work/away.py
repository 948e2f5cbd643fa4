"""Signing on a person's own machine, which has their key and nothing of the installation.

Nothing is looked up, so nothing is taken from anybody's word: an approver is given the plan as a file, reads it here,
and its digest is computed here from what was read. What is printed is pasted into a form of Prefect, or handed in with
`mcp-soar hand-in` where the installation is.
"""

import asyncio
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.cli.exits import Exit
from flows.cli.options import key_file
from flows.cli.output import BACK, WAITS, Nothing, Out, Usage
from flows.cli.work import questions, signing
from flows.cli.work.releasing import returned, show_unapproved
from flows.cli.work.wish import Wish
from integrations.signing import SigningKey
from playbooks.gate.plan import Beside, Plan
from playbooks.gate.policy import Purpose
from playbooks.people.request import Verb, draft
from playbooks.record.given_back import unapproved
from playbooks.record.journal import CAM
from playbooks.record.view import Ask, Difference
from playbooks.strict import Json, canonical, now

_LARGEST = 8 << 20
"""Bytes that a file with a plan may have."""

_INCIDENT = re.compile(r"inc-[0-9]{4}-[0-9]{6,}")
_CAMPAIGN = re.compile(r"cam-[0-9]{4}-[0-9]{6,}")
_DIGEST = re.compile(r"(sha256:)?[0-9a-fA-F]{64}")
_FORMS = (Verb.RESPOND, Verb.APPROVE, Verb.DENY, Verb.RELEASE, Verb.STOP, Verb.RESUME)
"""What has a form of its own in Prefect (prefect.yaml)."""

_SORTED = {"class": "as", "as": "as", "incident": "with", "of": "of"}
_OTHER = frozenset({"incident", "of"})
"""What of a request names another incident."""

_WHERE = "this machine has no installation to ask"
_WHICH = "--digest"
"""Beside a file in which several plans wait, says which one is meant."""


@dataclass(frozen=True)
class Signer:
    """Who signs.

    Args:
        name: as enrolled.
        key: their private key's file, or `AGENT`; None for the usual places.
        yes: do not ask.
    """

    name: str
    key: Path | None
    yes: bool = False


def signer(name: str | None, key: Path | None, *, yes: bool = False) -> Signer:
    """Return who signs.

    Raises:
        Usage: nobody was named.
    """
    if not name:
        raise Usage("say who you are: --as NAME, or set MCP_SOAR_PERSON")
    if key is None:
        key_file(name)  # a name that no file can have is refused before anything else
    return Signer(name, key, yes)


def key(out: Out, name: str, file: Path | None, *, roles: list[str], replace: bool) -> Exit:
    """Make a person's key on their own machine, and say what is to be done with its public half.

    Args:
        out: where to say it.
        name: of the person.
        file: for the key; None for the usual place.
        roles: what they are to be enrolled as; whoever names some wants more than the key, and that is not done here.
        replace: whether an earlier key of theirs is to be taken away.
    """
    path = file or key_file(name)
    made = not path.exists()
    if made:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = (SigningKey.generate(path) if made else SigningKey.load(path)).public
    half = path.with_suffix(".pub")
    half.write_bytes(public.pem)
    out.document({"name": name, "key": str(path), "made": made, "public": str(half)})
    out.say(f"{'A new key was made' if made else 'The key'}: {path}. It signs for {name}: keep it to yourself.")
    where = f"Where it is (--config DIR, if on this machine), with {half}:"
    out.say(f"{name} is not enrolled yet: no installation is here. {where}", "warn" if roles else "")
    wanted = [word for role in roles or ["ROLE"] for word in ("--role", role)]
    words = ["mcp-soar", "enroll", name, *wanted, "--public", half.name, *(["--replace"] if replace else [])]
    out.raw("  " + shlex.join(words))
    return Exit.NO if roles else Exit.OK


def decide(
    out: Out, who: Signer, *, verb: Verb, incident: str, plan: str | None, reason: str, digest: str | None = None
) -> Exit:
    """Sign an answer to a plan that was read here, or whose whole digest is given.

    Args:
        out: where to show it.
        who: signs.
        verb: approve or deny.
        incident: its id.
        plan: a file with the plan, or its whole digest.
        reason: why.
        digest: beside a file, the beginning of the digest of the plan that is meant there; else the whole of it.
    """
    out.aside = True
    if plan is not None and not _DIGEST.fullmatch(plan):
        name, ask = _plan_of(Path(plan), incident, digest)
        meant = ask.digest
        questions.decision(out, ask.model_copy(update={"summary": f"{name}: {ask.summary}"}), verb, source="the file")
    else:
        given = plan or digest
        if given is None or not _DIGEST.fullmatch(given):
            raise Usage(
                f"{_WHERE}: give the plan as a file, --plan FILE (what `mcp-soar incident {incident} --json` writes"
                " where it is, or the block for it in Prefect's page of the plan), and of several the one that you mean"
                " with --digest; or at least its whole digest (64 hexadecimal digits)"
            )
        name = _whole(incident)
        meant = questions.meant(name, {f"sha256:{given.removeprefix('sha256:').lower()}": ""}, digest)
        out.say(f"{verb.value.capitalize()} the plan {meant} of {name}", "head")
        out.say("The plan itself is not here: you sign for whatever has this digest. --plan FILE shows it.", "warn")
    if not _agreed(out, who, f"{verb.value.capitalize()} it as {who.name}?"):
        return Exit.NO
    return _printed(out, who, verb=verb, subject=name, digest=meant, reason=reason)


def decide_all(out: Out, who: Signer, *, verb: Verb, campaign: str, plan: str | None, reason: str) -> Exit:
    """Sign an answer to all plans of a campaign that were read here.

    Args:
        out: where to show them.
        who: signs.
        verb: approve or deny.
        campaign: its name.
        plan: a file with all of them.
        reason: why.
    """
    out.aside = True
    if plan is None:
        raise Usage(f"{_WHERE}: give the campaign's plans as a file, {_file_of(campaign)}")
    name, asks = _plans_of(Path(plan), campaign)
    for incident, ask in asks:
        out.heading(incident)
        questions.decision(out, ask, verb, source="the file")
    many = "the plan" if len(asks) == 1 else f"all {len(asks)} plans"
    if not _agreed(out, who, f"{verb.value.capitalize()} {many} as {who.name}?"):
        return Exit.NO
    items: list[Json] = [{"incident": incident, "digest": ask.digest} for incident, ask in asks]
    return _printed(out, who, verb=verb, subject=name, reason=reason, params={"items": items})


def respond(out: Out, who: Signer, wish: Wish) -> Exit:
    """Sign that a class's playbook is started, or an incident tried again."""
    params = wish.started(who.name)
    subject = _whole(wish.incident) if wish.incident else "new"
    return _printed(out, who, verb=Verb.RESPOND, subject=subject, reason=wish.reason, params=params)


def contain(out: Out, who: Signer, wish: Wish) -> Exit:
    """Sign that what somebody names is contained; what it means is found out where it is taken in.

    Args:
        out: where to show it.
        who: signs.
        wish: what is to be contained.
    """
    out.aside = True
    named: list[Json] = [entity.model_dump(mode="json", exclude_none=True) for entity in wish.chosen]
    listed = ", ".join(map(str, wish.chosen)) + (f", at {' and '.join(wish.only)} only" if wish.only else "")
    out.say(f"Contain {listed}", "head")
    out.say("Neither the inventory nor the gateway is here: a name that means two things is refused there.", "warn")
    if not _agreed(out, who, f"Contain {listed} as {who.name}?"):
        return Exit.NO
    subject, params = "new", dict[str, Json](entities=named) | wish.narrowed
    if wish.incident is not None:
        subject = _whole(wish.incident)
    else:
        title = wish.title or f"{who.name} contains {listed}"[:2000]
        params |= {"severity": wish.severity, "title": title, "exact": True}
        params |= {"class": wish.incident_class} if wish.incident_class else {}
    return _printed(out, who, verb=Verb.RESPOND, subject=subject, reason=wish.reason, params=params)


def sort(out: Out, who: Signer, *, verb: Verb, incident: str, params: dict[str, Json], reason: str) -> Exit:
    """Sign what an incident is, that another one goes on in it, or that it is closed.

    Args:
        out: where to show it.
        who: signs.
        verb: classify, join or close.
        incident: its whole id.
        params: what the verb needs; another incident by its whole id.
        reason: why.
    """
    out.aside = True
    name, said = _whole(incident), []
    for key, value in params.items():
        said.append(f"{_SORTED[key]} {_whole(str(value)) if key in _OTHER else value}")
    if not _agreed(out, who, f"As {who.name}, {verb.value} {name} {' '.join(said)}?"):
        return Exit.NO
    return _printed(out, who, verb=verb, subject=name, reason=reason, params=params)


def release(
    out: Out,
    who: Signer,
    *,
    incident: str,
    lease: str | None,
    accept_changed: bool,
    reason: str,
    plan: str | None = None,
    digest: str | None = None,
) -> Exit:
    """Sign that what an incident holds is given back.

    Args:
        out: where to show it.
        who: signs.
        incident: its whole id; a file has it.
        lease: only this one.
        accept_changed: although a definition is not the approved one.
        reason: why.
        plan: a file with the release as people are asked about it: what it shows is accepted, and nothing else.
        digest: beside a file, the beginning of the digest of the release that is meant there.
    """
    out.aside = True
    name, ask = _plan_of(Path(plan), incident, digest) if plan is not None else (_whole(incident), None)
    out.say(f"Give back {lease} of {name}" if lease else f"Give back all that {name} holds")
    params: dict[str, Json] = {"accept_changed": accept_changed}
    if accept_changed:
        out.say("even if a definition is not the approved one any more", "warn")
        found = unapproved(ask.plan) if ask else ()
        params["shown"] = show_unapproved(out, found)
        if not found:
            unseen = "What comes back is not here: whoever approves it is asked about what nobody approved of it."
            out.say(f"{unseen} --plan FILE shows it.", "warn")
    if not _agreed(out, who, f"Release as {who.name}?"):
        return Exit.NO
    if lease is not None:
        params["lease"] = lease
    return _printed(out, who, verb=Verb.RELEASE, subject=name, reason=reason, params=params)


def release_all(
    out: Out, who: Signer, *, campaign: str, accept_changed: bool, reason: str, plan: str | None = None
) -> Exit:
    """Sign that what the incidents of a campaign hold is given back, each thing as a file names it.

    Args:
        out: where to show it.
        who: signs.
        campaign: its name.
        accept_changed: although a definition is not the approved one.
        reason: why.
        plan: a file with what they hold, and what people are asked about it: what it shows is accepted.
    """
    out.aside = True
    if plan is None:
        raise Usage(f"{_WHERE}: give what the campaign holds as a file, {_file_of(campaign)}")
    name, named, back = _held_in(Path(plan), campaign)
    for incident, lease in named:
        out.say(f"Give back {lease} of {incident}")
    items = returned(out, named, back if accept_changed else None)
    if accept_changed and not any(back):
        out.say("What comes back is not in the file: whoever approves it is asked about what nobody approved.", "warn")
    if not _agreed(out, who, f"Release as {who.name}?"):
        return Exit.NO
    params: dict[str, Json] = {"items": items, **({"accept_changed": True} if accept_changed else {})}
    return _printed(out, who, verb=Verb.RELEASE, subject=name, reason=reason, params=params)


def switch(out: Out, who: Signer, *, verb: Verb, scope: str, reason: str) -> Exit:
    """Sign that a kill switch is turned on or off."""
    kind, _, name = scope.partition(":")
    if kind == "incident":
        _whole(name)
    elif scope != "everything" and (kind not in {"class", "server"} or not name):
        raise Usage("write a scope: everything, class:NAME, server:NAME or incident:ID")
    return _printed(out, who, verb=verb, subject=scope, reason=reason)


def _whole(given: str) -> str:
    if not _INCIDENT.fullmatch(given):
        raise Usage(f"{_WHERE} which incident {given} is: write its whole id, as inc-2026-000007")
    return given


def _plan_of(file: Path, incident: str, digest: str | None) -> tuple[str, Ask]:
    """Return the incident that a file is about, and what is asked by the plan in it that is meant.

    Raises:
        Usage: it holds none, several and nobody said which, or one that is not what it says.
        Nothing: nothing was asked when it was written, or nothing with such a digest.
    """
    name, asks = _asks_of(file, f"incident {incident}", _INCIDENT)
    _same(file, name, incident)
    read = {ask.digest: ask for ask in (_read(file, said) for said in asks)}
    return name, read[questions.meant(name, {key: ask.summary for key, ask in read.items()}, digest, option=_WHICH)]


def _plans_of(file: Path, campaign: str) -> tuple[str, list[tuple[str, Ask]]]:
    """Return the campaign that a file is about, and each incident with what it asks there.

    Raises:
        Usage: it holds none, or one that is not what it says.
        Nothing: nothing was asked when it was written.
    """
    name, asks = _asks_of(file, f"campaign {campaign}", _CAMPAIGN)
    _same(file, name, campaign.removeprefix(CAM) if campaign.removeprefix(CAM).isdigit() else campaign)
    named = [str(said.get("incident")) if isinstance(said, dict) else "" for said in asks]
    if not all(map(_INCIDENT.fullmatch, named)):
        raise Usage(f"{file} does not say which incident asks for what")
    return name, list(zip(named, (_read(file, said) for said in asks), strict=True))


def _held_in(file: Path, campaign: str) -> tuple[str, list[tuple[str, str]], list[tuple[Beside, ...]]]:
    """Return the campaign that a file is about, each incident with each lease, and what nobody approved of each.

    Raises:
        Usage: it does not say what is held, or a plan in it is not what it says.
        Nothing: nothing was held when it was written.
    """
    name, asks, leases = _said_in(file, f"campaign {campaign}", _CAMPAIGN, "asks", "leases")
    _same(file, name, campaign.removeprefix(CAM) if campaign.removeprefix(CAM).isdigit() else campaign)
    if not leases:
        raise Nothing(BACK, f"{name} holds nothing, says {file}")
    named = [(str(one.get("incident")), one.get("lease")) if isinstance(one, dict) else ("", "") for one in leases]
    held = [(incident, lease) for incident, lease in named if _INCIDENT.fullmatch(incident) and isinstance(lease, str)]
    if len(held) < len(named):
        raise Usage(f"{file} does not say which incident holds what")
    back: dict[tuple[str, str], tuple[Beside, ...]] = {}
    for said in asks:
        ask = _read(file, said)
        if isinstance(said, dict) and ask.purpose is Purpose.RELEASE:
            back[str(said.get("incident")), str(said.get("instance"))] = unapproved(ask.plan)
    return name, held, [back.get((incident, f"release-{lease}"), ()) for incident, lease in held]


def _file_of(campaign: str) -> str:
    return f"--plan FILE (what `mcp-soar campaign {campaign} --json` writes where it is)"


def _asks_of(file: Path, command: str, form: re.Pattern[str]) -> tuple[str, list[object]]:
    """Return what a file is about, and what is asked in it; see `_said_in`.

    Raises:
        Nothing: nothing was asked when it was written.
    """
    name, asks = _said_in(file, command, form, "asks")
    if not asks:
        raise Nothing(WAITS, f"{name} asked for nothing when {file} was written")
    return name, asks


def _said_in(file: Path, command: str, form: re.Pattern[str], *lists: str) -> tuple[Any, ...]:
    """Return what a file is about, and some of its lists.

    Args:
        file: that a command wrote.
        command: which.
        form: of the names that it can be about.
        lists: their names.

    Raises:
        Usage: it is not what that command writes.
    """
    try:
        data = file.read_bytes() if file.stat().st_size <= _LARGEST else b""
    except OSError as exc:
        message = f"{file}: {exc.strerror}; --plan takes a file, or a plan's whole digest (64 hexadecimal digits)"
        raise Usage(message) from exc
    try:
        document = json.loads(data)
        name, found = str(document["id"]), [list(document[one]) for one in lists]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise Usage(f"{file} is not what `mcp-soar {command} --json` writes") from exc
    if not form.fullmatch(name):
        raise Usage(f"{file} is about {name[:60]!r}, and you wrote {command.partition(' ')[2]}")
    return name, *found


def _same(file: Path, name: str, given: str) -> None:
    if not (given == name or name.endswith(given.zfill(6))):
        raise Usage(f"{file} is about {name[:60]!r}, and you wrote {given}")


def _read(file: Path, said: object) -> Ask:
    """Return one thing that is asked: what its digest covers is computed here, the rest is what the file says."""
    says: dict[str, Any] = said if isinstance(said, dict) else {}
    try:
        plan = Plan.model_validate_json(json.dumps(says["plan"]))
    except (ValidationError, KeyError, TypeError) as exc:
        raise Usage(f"{file} holds no plan that this release reads") from exc
    if plan.digest != says.get("digest"):
        raise Usage(f"{file} was changed, or another release wrote it: its plan has not the digest that it names")
    return Ask.of(
        plan,
        reasons=tuple(str(one) for one in _listed(says.get("reasons"))),
        diffs=tuple(
            Difference(reason=str(one["reason"]), about=str(one["about"]), diff=str(one["diff"]))
            for one in _listed(says.get("diffs"))
            if isinstance(one, dict) and {"reason", "about", "diff"} <= one.keys()
        ),
        differs=tuple(filter(None, str(says.get("differs") or "").split("; "))),
        requested_by=str(says.get("requested_by") or "") or None,
        reason=str(says.get("reason") or ""),
        purpose=_purpose(says.get("purpose")),
    )


def _purpose(said: object) -> Purpose:
    """Return what a plan is for; what another release wrote may say nothing of it, or something else."""
    return next((one for one in Purpose if one == said), Purpose.CONTAIN)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _agreed(out: Out, who: Signer, question: str) -> bool:
    if questions.agreed(out, question, does="signs", yes=who.yes):
        return True
    out.note("nothing was signed")
    return False


def _printed(
    out: Out,
    who: Signer,
    *,
    verb: Verb,
    subject: str,
    digest: str | None = None,
    reason: str = "",
    params: dict[str, Json] | None = None,
) -> Exit:
    try:
        request = draft(
            actor=who.name, verb=verb, subject=subject, at=now(), digest=digest, reason=reason, params=params
        )
    except ValueError as exc:
        raise Usage(f"this cannot be asked for: {exc}") from exc
    signed = asyncio.run(signing.signed(None, request, who.key))
    out.verbatim(canonical(signed).decode())
    until, form = f"{request.expires_at:%H:%M:%S} UTC", verb.value if verb in _FORMS else "hand-in"
    out.note(f"signed; it counts once, until {until}: paste it into Prefect's form {form}, or `mcp-soar hand-in`")
    return Exit.OK
