"""The table of boxes, for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table


def counts_table(counts: Mapping[str, Mapping[str, int]], rows: Mapping[str, int]) -> Table:
    """Boxes of each class in each part of the data, as stored."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("boxes")
    for part in counts:
        table.add_column(f"{part} ({rows[part]} pictures)", justify="right")
    for name in next(iter(counts.values())):
        table.add_row(name, *(str(found[name]) for found in counts.values()))
    return table
