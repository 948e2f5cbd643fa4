"""Commands as help lists them: each with the whole sentence that says what it does."""

from typing import Any

from typer.core import TyperGroup

_SENTENCE = 500
"""Characters of a first sentence, which no command's reaches: the library cuts off in the middle of one."""


class Listing(TyperGroup):
    """Some commands under a name."""

    def rows(self, ctx: Any, names: list[str]) -> list[tuple[str, str]]:  # noqa: ANN401  # upstream's types are private
        """Return commands with what each does.

        Args:
            ctx: as the library has it.
            names: of the commands; a command that is not there has no row.
        """
        found = [(name, self.get_command(ctx, name)) for name in names]
        return [(name, command.get_short_help_str(limit=_SENTENCE)) for name, command in found if command]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  # likewise
        """Write the commands in the order in which they were declared."""
        with formatter.section("Commands"):
            formatter.write_dl(self.rows(ctx, self.list_commands(ctx)))
