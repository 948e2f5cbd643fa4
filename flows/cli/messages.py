"""`message test` and `message show`: these declare the commands."""
# ruff: noqa: D301, FBT002, PLC0415, PLR0917  # a parameter is an option, \b keeps an example as it is written, and what
# a command needs is imported when it runs, so that help is fast.

from enum import StrEnum
from typing import Annotated

import typer

from flows.cli.listing import Listing
from flows.cli.options import Config, Incident, Json, configuration
from flows.cli.output import speaking

app = typer.Typer()
message = typer.Typer(
    cls=Listing, rich_markup_mode=None, no_args_is_help=True, help="Try out messages, and look at them."
)
app.add_typer(message, name="message")


class Shape(StrEnum):
    """What a message is shown as."""

    TEXT = "text"
    HTML = "html"
    SLACK = "slack"
    MARKDOWN = "markdown"


class Tongue(StrEnum):
    """The languages of messages."""

    EN = "en"
    KO = "ko"


@message.command(name="test")
def try_out(
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="Whom, as contacts.yaml names them.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a test message to a contact by each of their ways, and say what became of each.

    It says that there is nothing to do. Exit code 1 if it could not be sent by one of them.

    \b
    Example:
      mcp-soar message test kim
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import messages

        raise typer.Exit(messages.try_out(out, configuration(config, out), contact))


@message.command()
def show(
    given: Incident,
    notice: Annotated[
        str,
        typer.Option("--notice", metavar="KIND", help="What it is about, as opened, awaiting_approval, contained."),
    ] = "status",
    language: Annotated[Tongue, typer.Option("--language", help="Of the words.")] = Tongue.EN,
    shape: Annotated[Shape, typer.Option("--form", help="What it is shown as.")] = Shape.TEXT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what a message about an incident would say now; nothing is sent.

    \b
    Example:
      mcp-soar message show 7 --notice awaiting_approval --language ko
      mcp-soar message show 7 --form html > message.html
    """
    with speaking(as_json=as_json) as out:
        from flows.cli.work import messages

        settings = configuration(config, out)
        messages.show(out, settings, given, notice=notice, language=language.value, shape=shape.value)
