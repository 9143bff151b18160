"""The group ``lineage import``: a bundle's file, or the name of a system whose past runs become records."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from lineage.cli.bundle import import_command
from lineage.cli.import_past import mlflow_command, tensorboard_command, wandb_command


class _Group(TyperGroup):
    """A group whose first word, when it names no system, is the file of a bundle."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class does, after the word ``bundle`` was put where it can be left out."""
        words = [word for word in args if not word.startswith("-")]
        if words and words[0] not in self.commands:
            args = ["bundle", *args]
        elif words and args[0] != words[0]:  # options before the system's name are meant for it, as they are before a file
            args = [words[0], *(word for number, word in enumerate(args) if number != args.index(words[0]))]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        name="import",
        cls=_Group,
        help="Take over records: from a bundle's file (`lineage import FILE`), or what another system kept of past runs.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("bundle")(import_command)
    group.command("wandb")(wandb_command)
    group.command("mlflow")(mlflow_command)
    group.command("tensorboard")(tensorboard_command)
    app.add_typer(group)
