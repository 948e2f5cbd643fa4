"""`incidents`, `incident`, `leases`, `verify`, and what people ask for: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import completion
from flows.cli.options import (
    WAIT,
    Asked,
    Class,
    Config,
    Incident,
    Json,
    Named,
    NoWait,
    Only,
    Reason,
    Severity,
    Title,
    Wait,
    configuration,
    options,
)
from flows.cli.output import Usage, speaking

if TYPE_CHECKING:
    from flows.cli.exits import Exit
    from flows.cli.work.asking import Person
    from flows.cli.work.away import Signer

app = typer.Typer()

Plan = Annotated[
    str | None,
    typer.Option(
        "--plan",
        metavar="DIGEST|FILE",
        help="The plan that you mean: the beginning of its digest, 8 digits or more. With --print on a machine without "
        "the installation: all of it, or better the plan itself, in a file that `incident ID --json` wrote.",
    ),
]
Digest = Annotated[
    str | None,
    typer.Option(
        "--digest",
        metavar="DIGEST",
        help="The same by its digest; beside --plan FILE the beginning of it, 8 digits or more, if several "
        "plans wait in that file.",
    ),
]
CAM = "cam-"
"""Begins what names a campaign and no incident."""

Scope = Annotated[str, typer.Argument(metavar="SCOPE", help="everything, class:NAME, server:NAME or incident:ID.")]


@app.command()
def incidents(
    config: Config = None,
    as_json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="The closed ones too.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many, the youngest.")] = 100,
) -> None:
    """List the incidents, worst first.

    A damaged journal, what is not contained, what waits for a person (for a decision or a first look), what is under
    way, what is contained, what is given back, what was joined to another. Of these the most severe first, then the
    question that runs out first, then the youngest.

    \b
    Example:
      mcp-soar incidents --all
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import incidents as work

        work.listing(out, configuration(config, out), everything=everything, limit=limit)


@app.command()
def incident(given: Incident, config: Config = None, as_json: Json = False) -> None:
    """Show an incident: what happened, what is held, what is asked of you and how to answer.

    \b
    With --json: id, class, severity, status, servers, entities, asks, leases,
    steps, exhibits, unavailable, tasks, stops, timeline, bundle, and metrics:
    detected_at, accepted_at, first_effect_at, verified_at, released_at, and
    first_effect_seconds, verified_seconds, released_seconds after accepted_at;
    of these, people took first_effect_waited and verified_waited to answer.
    Times are ISO 8601 UTC or null. All keys: flows/cli/schema.py.

    \b
    Example:
      mcp-soar incident 1
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import incidents as work

        work.show(out, configuration(config, out), given)


@app.command()
def campaign(
    given: Annotated[
        str | None, typer.Argument(metavar="CAMPAIGN", help="Its name or number, as cam-1; all are listed without.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what was found at several servers: the incidents that share it, and all that they ask and hold.

    A campaign joins nothing: each incident is decided by its own plans. `approve`, `deny`, `release` and `suppress`
    take it in place of an incident, show each thing that they are about, and answer all that was shown at once.

    \b
    Example:
      mcp-soar campaign cam-1
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import campaigns

        if given is None:
            campaigns.listing(out, configuration(config, out))
        else:
            campaigns.show(out, configuration(config, out), given)


@app.command()
def leases(
    config: Config = None,
    as_json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="Those that were released too.")] = False,
) -> None:
    """List what is contained now: until when, for which incident, when last verified.

    \b
    Example:
      mcp-soar leases
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import incidents as work

        work.leases(out, configuration(config, out), everything=everything)


@app.command()
def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|BUNDLE",
            help="An incident, or a bundle (.tar.gz or folder).",
            autocompletion=completion.incidents,
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUBLIC.pem", help="The responder's public key, for a bundle.")
    ] = None,
    heads: Annotated[
        list[str] | None,
        typer.Option(
            "--head", metavar="N:HASH", help="A head of the journal as a notification prints it; any number of them."
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Verify that nothing was changed: the whole journal and vault, one incident, or a bundle offline.

    A bundle needs nothing but the public key: no network, no installation. That the journal's end is missing is found
    by what was kept elsewhere: the manifests, and the heads that messages print. Exit code 1 if anything is not as it
    was written.

    \b
    Examples:
      mcp-soar verify --head 214:9f86d081884c7d65
      mcp-soar verify inc-2026-000001-000042.tar.gz --key responder.pub
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import verifying
        from flows.reading.verification import head_of

        try:
            seen = [head_of(text) for text in heads or ()]
        except ValueError as exc:
            raise Usage(str(exc)) from exc
        if what is not None and (key is not None or Path(what).exists()):
            if seen:
                raise Usage("--head is for the installation's journal; a bundle holds only a part of it")
            if key is None:
                raise Usage(
                    f"{what} is a file; a bundle needs --key PUBLIC.pem, had from elsewhere than with the bundle"
                )
            raise typer.Exit(verifying.offline(out, Path(what), key))
        if key is not None:
            raise Usage("--key is for a bundle; the installation's own keys stand in mcp-soar.yaml")
        raise typer.Exit(verifying.installed(out, configuration(config, out), what, heads=seen))


@app.command()
@options("yes", "prints")
def respond(
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="An open incident, to have it tried again.", autocompletion=completion.incidents
        ),
    ] = None,
    incident_class: Class = None,
    about: Annotated[
        list[str] | None,
        typer.Option(
            "--about", metavar="KIND:NAME", help="What is to be contained itself, as server:weather; repeat it."
        ),
    ] = None,
    only: Only = None,
    title: Title = None,
    severity: Severity = "high",
    reason: Reason = "",
    *,
    named: Named,
    asked: Asked,
) -> None:
    """Start a response by hand, or have an open incident tried again. Waits until it is contained, or asks somebody.

    What a class's playbook cuts on your word another person approves, whatever the class. With --about it contains what
    you name, as `contain` does, also in an incident that is open already: whether its class has a playbook makes no
    difference. It shows what that changes, and asks; another person approves it.

    \b
    Examples:
      mcp-soar respond --class tool_poisoning --tool weather/forecast --as kim
      mcp-soar respond 1 --as kim
      mcp-soar respond 1 --about tool:weather/new_tool --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import responding
        from flows.cli.work.wish import Wish, choose

        server = named.server or []
        if about and (named != Named(server=named.server) or len(server) > 1):
            raise Usage("write all of it as --about KIND:NAME; beside that only one --server, whose they are")
        if about and given and incident_class:
            raise Usage(f"{given} has its class: `mcp-soar classify {given} --as-class` gives it another")
        if only and not about:
            raise Usage("--only is for what --about names: a class's playbook says itself where it acts")
        wish = Wish(
            incident=given,
            incident_class=incident_class,
            title=title,
            severity=severity,
            reason=reason,
            named=() if about else named.entities(),
            chosen=choose(about or (), server[0] if server else None),
            only=tuple(only or ()),
        )
        here, there = responding.respond, elsewhere.respond
        if about:
            # What it asks a gateway with takes long to import.
            from flows.cli.work import contain

            here, there = contain.contain, elsewhere.contain
        asked.act(out, here=lambda who: here(out, who, wish), there=lambda who: there(out, who, wish))


@app.command()
@options("yes", "prints")
def approve(
    given: Incident,
    plan: Plan = None,
    digest: Digest = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Let a plan that waits be carried out. Shows what will be done, asks, and waits until it is in effect.

    The approval is bound to that very plan: if the world changes before, you are asked again.

    \b
    Example:
      mcp-soar approve 1 --as kim
    """
    _decide("approve", given, plan, digest, reason, asked)


@app.command()
@options("yes", "prints")
def deny(
    given: Incident,
    plan: Plan = None,
    digest: Digest = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Say no to a plan that waits. It is not done, and `respond` asks again.

    \b
    Example:
      mcp-soar deny 1 --as kim --reason "a planned change"
    """
    _decide("deny", given, plan, digest, reason, asked)


def _decide(
    verb: str, given: str, plan: str | None, digest: str | None, reason: str, asked: Asked
) -> None:  # in the order of the two commands
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import campaigns, deciding
        from playbooks.people.request import Verb

        def here(who: "Person") -> "Exit":
            if given.startswith(CAM):
                _whole(plan, digest)
                return campaigns.decide(out, who, verb=Verb(verb), campaign=given, reason=reason)
            return deciding.decide(out, who, verb=Verb(verb), incident=given, plan=plan, digest=digest, reason=reason)

        def there(who: "Signer") -> "Exit":
            if given.startswith(CAM):
                _whole(digest)
                return elsewhere.decide_all(out, who, verb=Verb(verb), campaign=given, plan=plan, reason=reason)
            return elsewhere.decide(out, who, verb=Verb(verb), incident=given, plan=plan, digest=digest, reason=reason)

        asked.act(out, here=here, there=there)


def _whole(*given: object) -> None:
    """Refuse to choose among what a campaign asks: it is answered as a whole, and single things by their incident."""
    if any(one is not None for one in given):
        raise Usage("a campaign is answered as a whole; what is meant alone is answered by its incident's id")


@app.command()
@options("yes", "prints")
def release(
    given: Incident,
    lease: Annotated[
        str | None, typer.Option("--lease", metavar="LEASE", help="Only this one, as `incident` names it.")
    ] = None,
    accept_changed: Annotated[
        bool, typer.Option("--accept-changed", help="Although a definition is not the approved one.")
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            help="With --print on a machine without the installation: what people are asked about it, in a file that "
            "`incident ID --json` wrote. --accept-changed accepts what it shows.",
        ),
    ] = None,
    digest: Digest = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Give back what was contained, exactly as it was. Waits until a probe confirms it.

    It shows what comes back, and asks; --print makes it a signed request to hand in elsewhere. What nobody approved is
    accepted as it was shown, and as nothing else: of the rest another person is asked.

    \b
    Example:
      mcp-soar release 1 --as kim --reason "the server is clean again"
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import campaigns, releasing

        def here(who: "Person") -> "Exit":
            if plan is not None or digest is not None:
                raise Usage("what comes back is read here, and shown: leave --plan and --digest away")
            if given.startswith(CAM):
                _whole(lease)
                return campaigns.release(out, who, campaign=given, accept_changed=accept_changed, reason=reason)
            return releasing.release(
                out, who, incident=given, lease=lease, accept_changed=accept_changed, reason=reason
            )

        def there(who: "Signer") -> "Exit":
            if given.startswith(CAM):
                _whole(lease, digest)
                return elsewhere.release_all(
                    out, who, campaign=given, accept_changed=accept_changed, reason=reason, plan=plan
                )
            return elsewhere.release(
                out,
                who,
                incident=given,
                lease=lease,
                accept_changed=accept_changed,
                reason=reason,
                plan=plan,
                digest=digest,
            )

        asked.act(out, here=here, there=there)


@app.command()
@options("yes", "prints")
def close(
    given: Incident,
    how: Annotated[
        str, typer.Option("--outcome", metavar="HOW", help="How it ends: resolved, false-positive or duplicate.")
    ] = "resolved",
    of: Annotated[str | None, typer.Option("--of", metavar="ID", help="Of which incident it is a duplicate.")] = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Close an incident for good: shows what, and asks. Nothing of it may be in force.

    A new alert about it opens a new one, linked to it.

    \b
    Examples:
      mcp-soar close 1 --outcome false-positive --as kim
      mcp-soar close 2 --outcome duplicate --of 1 --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import closing
        from playbooks.people.request import Verb

        params = closing.ending(asked.who, how, of)
        asked.act(
            out,
            here=lambda who: closing.close(out, who, incident=given, params=params, reason=reason),
            there=lambda who: elsewhere.sort(out, who, verb=Verb.CLOSE, incident=given, params=params, reason=reason),
        )


@app.command()
@options("prints")
def stop(
    scope: Scope,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown wherever it stops something.")],
    *,
    asked: Asked,
) -> None:
    """Turn the kill switch on: nothing new is done to any system in that scope until two people resume it.

    What is contained stays contained. Evidence, notices and a person's own release go on.

    \b
    Example:
      mcp-soar stop server:weather --reason "wrong server" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import stopping
        from playbooks.people.request import Verb

        asked.act(
            out,
            here=lambda who: stopping.stop(out, who, scope=scope, reason=reason),
            there=lambda who: elsewhere.switch(out, who, verb=Verb.STOP, scope=scope, reason=reason),
        )


@app.command()
@options("prints")
def resume(
    scope: Scope,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Turn the kill switch off. It takes two approvers: it goes off when the second one runs this.

    \b
    Example:
      mcp-soar resume server:weather --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import stopping
        from playbooks.people.request import Verb

        asked.act(
            out,
            here=lambda who: stopping.resume(out, who, scope=scope, reason=reason),
            there=lambda who: elsewhere.switch(out, who, verb=Verb.RESUME, scope=scope, reason=reason),
        )


@app.command("hand-in")
def hand_in(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What a command printed with --print; - for standard input.")
    ] = "-",
    wait: Wait = WAIT,
    no_wait: NoWait = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Hand in what somebody signed on their own machine with --print. Waits as the command itself would.

    Whoever hands it in decides nothing: it counts by its signature, once, within ten minutes. Over ssh, write both
    paths whole: what it runs starts in the account's home, and no virtual environment is on its PATH.

    \b
    Examples:
      mcp-soar hand-in approval.json
      … --print | ssh soar /opt/soar/bin/mcp-soar hand-in --config /home/soar/soar
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import handing

        settings = configuration(config, out)
        raise typer.Exit(handing.hand_in(out, settings, file=file, wait=0.0 if no_wait else wait))
