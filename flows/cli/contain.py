"""`contain`, `classify`, `join`: these declare the commands."""
# ruff: noqa: D301, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from typing import Annotated

import typer

from flows.cli.options import CLASSES, Asked, Class, Incident, Only, Reason, Severity, Title, options
from flows.cli.output import speaking

app = typer.Typer()

Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND", help="tool, prompt, resource, server, token, principal or address.", show_default=False
    ),
]


@app.command()
@options("yes", "prints")
def contain(
    kind: Kind,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="As the inventory or the gateway calls it; a tool also as SERVER/NAME, a token as PRINCIPAL/NAME; "
            "an address, or a network, as SERVER/ADDRESS: where that server runs on Kubernetes.",
        ),
    ],
    server: Annotated[
        str | None, typer.Option("--server", metavar="NAME", help="Whose tools, prompts or resources they are.")
    ] = None,
    only: Only = None,
    incident_class: Class = None,
    severity: Severity = "high",
    title: Title = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Contain what you name: shows what that changes, asks, and hands it in; another person approves it.

    Whether anybody approved a tool before makes no difference, no playbook is needed, and nothing is automatic on your
    word, whatever the class: only what alerts alone carry waits for nobody. What is contained is
    verified, watched and given back (`release`) like everything else; a revoked token stays revoked.

    It is contained at every system where inventory.yaml gives it a place, each step decided by itself: a server at its
    gateway, and on Kubernetes shut off from the network; a token or a principal at the gateway, and at the identity
    provider that issues for it, where a user of a Keycloak is disabled, and on a deny list. With --only SYSTEM it is
    contained there alone. Where an incident of that class is open about just what you name, it is contained there; in
    any other: `respond ID --about KIND:NAME`.

    \b
    Examples:
      mcp-soar contain tool weather/forecast --reason "sends mail" --as kim
      mcp-soar contain server weather --as kim
      mcp-soar contain server weather --only main --as kim
      mcp-soar contain token agent/laptop --reason "found in a log" --as kim
      mcp-soar contain address weather/203.0.113.7 --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import contain as work
        from flows.cli.work.wish import OFFERED, Wish, entity

        home = server if kind in OFFERED else None
        wish = Wish(
            incident=None,
            incident_class=incident_class,
            title=title,
            severity=severity,
            reason=reason,
            chosen=tuple(entity(kind, name, home) for name in names),
            only=tuple(only or ()),
        )
        asked.act(
            out,
            here=lambda who: work.contain(out, who, wish),
            there=lambda who: elsewhere.contain(out, who, wish),
        )


@app.command()
@options("yes", "prints")
def classify(
    given: Incident,
    named: Annotated[str | None, typer.Option("--as-class", metavar="CLASS", help=f"What it is: {CLASSES}.")] = None,
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Say what an incident is. One that waited for want of a class or a playbook takes the playbook up and goes on.

    It asks. What was begun by one playbook ends with it. Alerts about it are found under both classes from then on.

    \b
    Example:
      mcp-soar classify 7 --as-class tool_poisoning --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import joining
        from playbooks.people.request import Verb

        word = joining.class_of(named)
        asked.act(
            out,
            here=lambda who: joining.classify(out, who, incident=given, word=word, reason=reason),
            there=lambda who: elsewhere.sort(
                out, who, verb=Verb.CLASSIFY, incident=given, params={"class": word}, reason=reason
            ),
        )


@app.command()
@options("yes", "prints")
def join(
    given: Incident,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The incident that goes on in it.")],
    reason: Reason = "",
    *,
    asked: Asked,
) -> None:
    """Make two incidents one: OTHER goes on in ID, with its alerts and what it is about.

    Nothing is given up: what OTHER holds stays in force and is watched there until ID is released, and that releases
    both. Later alerts about either come to ID. From then on OTHER reads "joined to ID", and people are told so.

    \b
    Example:
      mcp-soar join 7 8 --reason "the same server" --as kim
    """
    with speaking(as_json=asked.as_json) as out:
        from flows.cli.work import away as elsewhere
        from flows.cli.work import joining
        from playbooks.people.request import Verb

        asked.act(
            out,
            here=lambda who: joining.join(out, who, first=given, second=other, reason=reason),
            there=lambda who: elsewhere.sort(
                out, who, verb=Verb.JOIN, incident=given, params={"incident": other}, reason=reason
            ),
        )
