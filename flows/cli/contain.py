"""`contain`, `classify`, `join`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from typing import Annotated

import typer

from flows.cli.options import As, Config, Incident, Json, Key, NoWait, Print, Reason, Wait, Yes, away, configuration
from flows.cli.output import speaking

app = typer.Typer()

_WAIT = 30.0

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="tool, prompt, resource, server, token or principal.", show_default=False)
]
Class = Annotated[
    str | None,
    typer.Option("--class", metavar="CLASS", help="What kind of incident it is; its playbook is run as well."),
]
Severity = Annotated[
    str, typer.Option("--severity", metavar="LEVEL", help="informational, low, medium, high or critical.")
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="One line on what it is about.")]


@app.command()
def contain(
    kind: Kind,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="As the inventory or the gateway calls it; a tool also as SERVER/NAME, a token as PRINCIPAL/NAME.",
        ),
    ],
    server: Annotated[
        str | None, typer.Option("--server", metavar="NAME", help="Whose tools, prompts or resources they are.")
    ] = None,
    incident_class: Class = None,
    severity: Severity = "high",
    title: Title = None,
    reason: Reason = "",
    yes: Yes = False,
    who: As = None,
    key: Key = None,
    wait: Wait = _WAIT,
    no_wait: NoWait = False,
    prints: Print = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Contain what you name: shows what that changes, asks, and hands it in; another person approves it.

    Whether anybody approved a tool before makes no difference, no playbook is needed, and nothing is automatic on your
    word, whatever the class: only what alerts alone carry waits for nobody. What is contained is
    verified, watched and given back (`release`) like everything else; a revoked token stays revoked. In an incident
    that is open: `respond ID --about KIND:NAME`.

    \b
    Examples:
      mcp-soar contain tool weather/forecast --reason "sends mail" --as kim
      mcp-soar contain server weather --as kim
      mcp-soar contain token agent/laptop --reason "found in a log" --as kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import acts
        from flows.cli.work import away as elsewhere
        from flows.cli.work import contain as work

        home = server if kind in work.OFFERED else None
        wish = work.Wish(
            entities=tuple(work.entity(kind, name, home) for name in names),
            incident=None,
            incident_class=incident_class,
            severity=severity,
            title=title,
            reason=reason,
        )
        if prints and away(config):
            raise typer.Exit(elsewhere.contain(out, elsewhere.signer(who, key, yes=yes), wish))
        settings = configuration(config, out)
        person = acts.person(settings, who, key, wait=wait, no_wait=no_wait, yes=yes, prints=prints)
        raise typer.Exit(work.contain(out, settings, person, wish))


@app.command()
def classify(
    given: Incident,
    named: Annotated[
        str, typer.Option("--as-class", metavar="CLASS", help="What it is, as `mcp-soar playbooks list` names it.")
    ],
    reason: Reason = "",
    who: As = None,
    key: Key = None,
    wait: Wait = _WAIT,
    no_wait: NoWait = False,
    prints: Print = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what an incident is. One that waited for want of a class or a playbook takes the playbook up and goes on.

    What was begun by one playbook ends with it. Alerts about it are found under both classes from then on.

    \b
    Example:
      mcp-soar classify 7 --as-class tool_poisoning --as kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import acts, joining
        from flows.cli.work import away as elsewhere
        from playbooks.request import Verb

        if prints and away(config):
            signer = elsewhere.signer(who, key)
            params = {"class": named}
            raise typer.Exit(
                elsewhere.sort(out, signer, verb=Verb.CLASSIFY, incident=given, params={**params}, reason=reason)
            )
        settings = configuration(config, out)
        person = acts.person(settings, who, key, wait=wait, no_wait=no_wait, prints=prints)
        raise typer.Exit(joining.classify(out, settings, person, incident=given, word=named, reason=reason))


@app.command()
def join(
    given: Incident,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The incident that goes on in it.")],
    reason: Reason = "",
    yes: Yes = False,
    who: As = None,
    key: Key = None,
    wait: Wait = _WAIT,
    no_wait: NoWait = False,
    prints: Print = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make two incidents one: OTHER goes on in ID, with its alerts and what it is about.

    Nothing is given up: what OTHER holds stays in force and is watched there until ID is released, and that releases
    both. Later alerts about either come to ID. From then on OTHER reads "joined to ID", and people are told so.

    \b
    Example:
      mcp-soar join 7 8 --reason "the same server" --as kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import acts, joining
        from flows.cli.work import away as elsewhere
        from playbooks.request import Verb

        if prints and away(config):
            signer = elsewhere.signer(who, key)
            params = {"incident": other}
            raise typer.Exit(
                elsewhere.sort(out, signer, verb=Verb.JOIN, incident=given, params={**params}, reason=reason)
            )
        settings = configuration(config, out)
        person = acts.person(settings, who, key, wait=wait, no_wait=no_wait, yes=yes, prints=prints)
        raise typer.Exit(joining.join(out, settings, person, first=given, second=other, reason=reason))
