"""Groups on a terminal: one table of metrics, what differs, and a drawing of each metric that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer

from lineage.cli.group_plot import plot, sparkline
from lineage.cli.output import escape, out, table
from lineage.model.group import Group, GroupsCompared, MetricOfGroup, SpreadAtEnd, Variation

_MOST_VARIANTS = 6
_MOST_VARIATIONS = 12


def said(end: SpreadAtEnd) -> str:
    """``mean ± std (min, max)``, as people write it."""
    if end.mean is None or end.min is None or end.max is None:
        return "no finite value"
    deviation = "" if end.std is None else f" ± {end.std:.3g}"
    return f"{end.mean:.6g}{deviation} ({end.min:.6g}, {end.max:.6g})"


def groups(found: Sequence[Group], *, is_drawn: bool) -> None:
    """One group, or several beside one another.

    Args:
        found: The groups.
        is_drawn: Whether each metric is drawn, too.
    """
    for item in found:
        left = [member for member in item.members if member.left_out is not None]
        more = f", {len(left)} left out ({', '.join(sorted({str(member.left_out) for member in left}))})" if left else ""
        newest = "" if item.is_whole else ", the newest ones only"
        typer.echo(f"group {escape(item.name)} in project {escape(item.project)}: {item.runs} runs{more}{newest}")
    head = ["metric", *(["group"] if len(found) > 1 else []), "mean ± std (min, max) at the end", "n", "mean over steps"]
    table(head, list(_rows(found)))
    for item in found:
        differing(item.difference.sentence, item.difference.variations, item.runs, item.name if len(found) > 1 else "")
        for note in item.notes:
            typer.echo(f"note: {escape(f'{item.name}: {note}' if len(found) > 1 else note)}")
    if is_drawn:
        for item in found:
            for metric in item.metrics:
                if metric.over is not None:
                    _draw(item, metric)


def _rows(found: Sequence[Group]) -> Iterator[list[str]]:
    for name in dict.fromkeys(metric.name for item in found for metric in item.metrics):
        for item in found:
            metric = next((metric for metric in item.metrics if metric.name == name), None)
            if metric is not None:
                which = [item.name] if len(found) > 1 else []
                drawn = "" if metric.over is None or len(metric.over.x) < 2 else sparkline(metric.over)
                yield [name, *which, said(metric.end), str(metric.end.n), drawn]


def differing(sentence: str, variations: Sequence[Variation], runs: int, name: str = "") -> None:
    """What differs between runs, one line for each thing with its values and how many runs have each."""
    typer.echo(escape(f"{name}: {sentence}" if name else sentence))
    told = [item for item in variations if item.subject != "seed"]
    for item in told[:_MOST_VARIATIONS]:
        if item.scattered is not None:
            typer.echo(f"  {escape(item.title)}: {escape(item.scattered)}")
            continue
        values = [f"{escape(variant.value)} ({_whose(variant.runs, runs)})" for variant in item.variants[:_MOST_VARIANTS]]
        more = [f"{len(item.variants) - _MOST_VARIANTS} more"] if len(item.variants) > _MOST_VARIANTS else []
        typer.echo(f"  {escape(item.title)}: {'; '.join([*values, *more])}")
    if len(told) > _MOST_VARIATIONS:
        typer.echo(f"  and {len(told) - _MOST_VARIATIONS} more (--json has all of them)")


def between(found: GroupsCompared) -> None:
    """What differs between groups."""
    typer.echo(f"between them: {escape(found.sentence)}")
    for item in found.variations[:_MOST_VARIATIONS]:
        values = [f"{name} {' | '.join(told[:3]) or 'absent'}{' …' if len(told) > 3 else ''}" for name, told in item.values.items()]
        typer.echo(f"  {escape(item.title)}: {escape('; '.join(values))}")
    if len(found.variations) > _MOST_VARIATIONS:
        typer.echo(f"  and {len(found.variations) - _MOST_VARIATIONS} more (--json has all of them)")


def _whose(ids: Sequence[str], runs: int) -> str:
    shown = ", ".join(run[:8] for run in ids[:3])
    return f"{len(ids)} of {runs}: {shown}{' …' if len(ids) > 3 else ''}"


def _draw(item: Group, metric: MetricOfGroup) -> None:
    if metric.over is None:
        return
    console = out()
    console.print(f"\n{escape(metric.name)} of {escape(item.name)}: ● mean, ▒ ± std, · min to max", markup=False, soft_wrap=True)
    for line in plot(metric.over, metric.axis):
        console.print(line, markup=False, soft_wrap=True)
