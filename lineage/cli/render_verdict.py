"""Comparisons and calibrations for people."""

from __future__ import annotations

from collections.abc import Sequence

from lineage.cli.output import escape, out, say, table
from lineage.cli.render import MARK
from lineage.cli.render_outputs import summed_up
from lineage.model.calibration import FACTOR, Calibration
from lineage.model.comparison import BatchRow, Change, Comparison, FirstDifference

_ROWS_SHOWN = 8


def comparison(item: Comparison) -> None:
    """What was compared, on stdout."""
    console = out()
    if item.checked is not None:
        console.print(f"compared: {escape(item.checked)} only", soft_wrap=True)
    for change in summed_up(item.changes):
        mark = MARK["none" if change.same else "warning" if change.is_tolerated else "blocker"]
        console.print(
            f"  {mark} {escape(change.subject):<18} {word(change):<10} {escape(change.original)} · {escape(change.replica)}", soft_wrap=True
        )
        if change.detail:
            console.print(f"      {escape(change.detail)}", soft_wrap=True)
    if item.first is not None:
        for line in first_difference(item.first):
            console.print(escape(line), soft_wrap=True)
    if item.likely_causes:
        console.print("likely causes, likeliest first:")
        for cause in item.likely_causes:
            console.print(f"  - {escape(cause)}", soft_wrap=True)
    console.print("not checked:")
    for line in item.not_checked:
        console.print(f"  - {escape(line)}", soft_wrap=True)


def word(change: Change) -> str:
    """How a compared thing came out."""
    return "same" if change.same else "within" if change.is_tolerated else "different"


def first_difference(item: FirstDifference) -> list[str]:
    """Where two runs part, with the batch, in lines."""
    lines = [item.sentence]
    if item.losses_original or item.losses_replica:
        name = "value" if item.phase == "metric" else "loss"
        lines.append(f"  {name}: {_numbers(item.losses_original)}, then {_numbers(item.losses_replica)}")
    for label, rows in (("its rows", item.rows_original), ("rows read in the reproduction", item.rows_replica)):
        if rows:
            lines.append(f"  {label}: {', '.join(map(row_name, rows[:_ROWS_SHOWN]))}{' …' if len(rows) > _ROWS_SHOWN else ''}")
    return lines


def row_name(row: BatchRow) -> str:
    """A row of a batch: source row, sample id, and the beginning of its picture's digest."""
    known = [f"position {row.position}" if row.row is None else f"row {row.row}", row.sample_id, row.picture and row.picture[:15]]
    return f"{row.role} {' '.join(filter(None, known))}"


def calibration(item: Calibration) -> None:
    """A calibration, on stdout."""
    rows = []
    for spread in item.spreads:
        if spread.max_absolute is None or spread.max_relative is None:
            rows.append([spread.name, str(spread.points), "none", "none", spread.reason or ""])
        else:
            rows.append([spread.name, str(spread.points), f"{spread.max_absolute:.6g}", f"{spread.max_relative:.3g}", ""])
    table(["value", "points", "largest spread", "relative", ""], rows)
    for name, is_equal in item.outputs.items():
        out().print(
            f"output {escape(name)}: {'equal bytes' if is_equal else 'other bytes'} in {len(item.run_ids)} repetitions", soft_wrap=True
        )
    if item.steps_are_equal is not None:
        out().print(f"step logs: {'equal to the end' if item.steps_are_equal else 'different'}")
    if item.is_deterministic:
        say("done", "the repetitions are equal bit for bit: a reproduction must be identical, nothing is tolerated")
    else:
        say("done", f"a reproduction is equivalent within {FACTOR:g} times these spreads; outputs that were equal must be equal")


def _numbers(values: Sequence[float | str]) -> str:
    return ", ".join(value if isinstance(value, str) else f"{value:.9g}" for value in values) or "none"
