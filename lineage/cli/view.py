"""``lineage view``."""

from __future__ import annotations

from typing import Annotated

import typer

from lineage.cli.output import AsJson, print_json, say
from lineage.model.dataset import normalise_uri
from lineage.wiring import wire

_ALMOST_NOTHING = 0.01


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        name="view", help="Saved views: a query's rows of one dataset version, under a name.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("create")(create)
    app.add_typer(group)


def create(
    uri: Annotated[str, typer.Argument(help="The dataset.")],
    query: Annotated[str, typer.Argument(help="A TQL query of the form 'select * where …'.")],
    name: Annotated[str, typer.Option("--name", help="Name of the view, unique in the dataset.")],
    as_json: AsJson = False,
) -> None:
    """Save the rows that a query keeps, read the view back and compare.

    The same name with the same query again gives the view that is there.
    """
    address = normalise_uri(uri)
    view = wire().datasets().save_view(address, query, name, "saved by lineage view create")
    kept, total = len(view.rows), view.version.rows_total
    if kept == total:
        say("warning", f"the query keeps every one of {total} rows: it filters nothing")
    elif kept < max(2, _ALMOST_NOTHING * total):
        say("warning", f"the query keeps almost nothing: {kept} of {total} rows")
    if as_json:
        print_json(
            {
                "view_id": view.view_id,
                "name": view.name,
                "uri": address,
                "dataset_id": view.version.dataset_id,
                "branch": view.version.branch,
                "commit_id": view.version.commit_id,
                "query": view.query,
                "rows": kept,
                "rows_total": total,
            }
        )
    else:
        share = f"{kept} of {total} ({100 * kept / total:.1f} %)"
        for label, value in {"view id": view.view_id, "name": view.name, "rows": share, "commit id": view.version.commit_id}.items():
            typer.echo(f"{label:<11}{value}")
