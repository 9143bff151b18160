"""Each case as a dataset on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import deeplake
from digests import stored
from digests.edits import Edit, other_column_order
from peers.columns import Table


@dataclass
class Case:
    """A dataset, and what became of its digests.

    Attributes:
        should_change: Whether its digests must differ from those of the recorded dataset.
        folder: Where it is.
        order: Its columns in the order it was made with; Deep Lake gives them in alphabetical order.
        commit_id: The version that is read; the newest without one.
        elsewhere: Read it in another process.
        table: The rows, read back.
        digests: Digest by method.
    """

    name: str
    should_change: bool
    folder: Path
    order: list[str]
    commit_id: str | None = None
    elsewhere: bool = False
    table: Table = field(default_factory=lambda: Table({}))
    digests: dict[str, str] = field(default_factory=dict)


def make_cases(base: Table, more: Table, edits: list[Edit], folder: Path, record: Callable[[Path], object]) -> list[Case]:
    """Make every dataset, the recorded one first.

    Args:
        base: The recorded rows.
        more: Rows to append.
        edits: What to change; the first one changes a label of row 5.
        folder: A new folder for the datasets.
        record: Called with a dataset that will be changed where it is: what is remembered of it must not hide the change.
    """
    folder.mkdir()
    recorded = folder / "recorded"
    order = list(base.columns)
    stored.store(base, recorded)
    cases = [Case("recorded", False, recorded, order)]

    def add(name: str, should_change: bool, place: Path, commit_id: str | None = None) -> None:
        cases.append(Case(name, should_change, place, order, commit_id))

    def copy(name: str) -> Path:
        deeplake.copy(str(recorded), str(folder / name))
        return folder / name

    def known_copy(name: str) -> Path:
        place = copy(name)
        record(place)
        return place

    for number, edit in enumerate(edits):
        stored.store(edit.change(base), folder / f"edit-{number}")
        add(edit.name, True, folder / f"edit-{number}")

    label = "labels" if "labels" in base.columns else "label"
    corrected, shorter, grown, compacted = map(known_copy, ("corrected", "shorter", "grown", "compacted"))
    befores = [
        stored.update(corrected, label, 5, edits[0].change(base).columns[label][5]),
        stored.delete(shorter, 10),
        stored.append(more, grown),
    ]
    changes = ("label of row 5 updated in place", "row 10 deleted in place", f"{len(more)} rows appended in place")
    places = (corrected, shorter, grown)
    for name, place in zip(changes, places, strict=True):
        add(f"{name}: newest version", True, place)
    for name, place, before in zip(changes, places, befores, strict=True):
        add(f"{name}: recorded version", False, place, before)
    stored.compact(compacted)
    add("compacted in place", False, compacted)

    cases.append(Case("read again in another process", False, recorded, order, elsewhere=True))
    add("copied", False, copy("copied"))
    copy("to-rename").rename(folder / "renamed")
    add("folder renamed", False, folder / "renamed")
    stored.store(base, folder / "again")
    add("made again from the same source", False, folder / "again")
    turned = other_column_order(base)
    stored.store(turned, folder / "columns")
    cases.append(Case("columns in another order", False, folder / "columns", list(turned.columns)))
    return cases
