"""What differs between two views of a million rows: the time of matching them, by each way of matching.

    python benchmarks/view_diff.py [--rows 1000000] [--repeats 5] [--json FILE]

Records are made of random digests and names, in a folder of objects as every run has it. Timed is all that `lineage diff` does between
the two records and the edits: loading rows, ledgers and names, with every object's digest checked, and matching. The edits found are
compared with those that were made. Beside it: loading and checking the digests of both views, which nothing that compares them can avoid
when no block of rows is shared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.lookup.diff_rows import MatchedRows, match_rows
from lineage.model.dataset import InputRecord
from lineage.model.digest import digest_of_rows, digest_of_view
from lineage.record.identity import pack_rows, recorded_digests, recorded_rows
from lineage.record.ledger import Ledger, RowDigests, RowNames

Array = np.ndarray[Any, Any]
AT = datetime(2024, 5, 6, tzinfo=UTC)
KINDS = ("same", "removed", "added", "relabelled", "replaced", "renamed")


@dataclass
class Table:
    """Rows of a dataset: pictures and rows uint8, shape (n, 32), and names."""

    pictures: Array
    rows: Array
    names: list[str] | None

    def copy(self) -> Table:
        return Table(self.pictures.copy(), self.rows.copy(), None if self.names is None else list(self.names))


def random_digests(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


def make(count: int, *, pictures: bool = True, names: bool = True) -> Table:
    nothing = np.frombuffer(hashlib.sha256().digest(), np.uint8)
    return Table(
        random_digests(count, 1) if pictures else np.tile(nothing, (count, 1)),
        random_digests(count, 2),
        [f"{row // 40:07d}_{row:08d}" for row in range(count)] if names else None,
    )


def record(objects: FolderObjectStore, table: Table, rows: Array, space: str) -> InputRecord:
    names = RowNames(None if table.names is None else tuple(table.names))
    ledger = Ledger(objects).extended(np.arange(len(table.rows)), RowDigests(table.pictures, table.rows), names)
    return InputRecord(
        role="train",
        uri="file:///benchmark",
        dataset_id=space,
        branch="main",
        branch_id="b",
        commit_id="c",
        rows=len(rows),
        rows_total=len(table.rows),
        rows_digest=digest_of_rows(rows),
        content_digest=digest_of_view(table.rows[rows].tobytes(), {}),
        rows_object=objects.put_bytes(pack_rows(rows)),
        space=space,
        ledger_object=ledger.save(),
        columns={},
        backend="none",
        used_at=AT,
    )


@dataclass
class Case:
    name: str
    a: InputRecord
    b: InputRecord
    expected: dict[str, int]


def one_space(objects: FolderObjectStore, count: int, *, shuffled: bool) -> Case:
    """Two views of one dataset: one row in a hundred is in one of them only; or the same rows in another order."""
    table = make(count + count // 100)
    all_rows, random = np.arange(len(table.rows)), np.random.default_rng(3)
    few = count // 100
    gone = [np.sort(random.choice(len(all_rows), few, replace=False)) for _ in range(2)]
    left, right = (np.delete(all_rows, part) for part in gone)
    if shuffled:
        right = random.permutation(left)
    common = len(np.intersect1d(left, right))
    name = "one dataset, shuffled" if shuffled else "one dataset, 1 % of the rows differ"
    expected = {"same": common, "removed": len(left) - common, "added": len(right) - common}
    return Case(name, record(objects, table, left, "s"), record(objects, table, right, "s"), expected)


def two_spaces(objects: FolderObjectStore, count: int, *, names: bool, pictures: bool, relabelled: float, title: str) -> Case:
    """A copied dataset: some rows relabelled, and one in a hundred removed and added when not all are relabelled."""
    before = make(count, names=names, pictures=pictures)
    after = before.copy()
    random = np.random.default_rng(4)
    chosen = random.permutation(count)
    edited = chosen[: round(count * relabelled)]
    after.rows[edited] = random_digests(len(edited), 5)
    few = 0 if relabelled == 1 else count // 100
    keep = np.ones(count, bool)
    keep[chosen[count - few :]] = False
    kept = Table(
        after.pictures[keep], after.rows[keep], None if after.names is None else [n for n, k in zip(after.names, keep, strict=True) if k]
    )
    kept.pictures = np.concatenate([kept.pictures, random_digests(few, 6)])
    kept.rows = np.concatenate([kept.rows, random_digests(few, 7)])
    if kept.names is not None:
        kept.names += [f"new_{row}" for row in range(few)]
    expected = {"same": count - len(edited) - few, "relabelled": len(edited), "removed": few, "added": few}
    everything = np.arange(count)
    return Case(title, record(objects, before, everything, "s"), record(objects, kept, everything, "t"), expected)


def timed(work: Callable[[], Any], repeats: int) -> tuple[list[float], list[float], Any]:
    """Seconds, seconds of processor time (of all threads: what a busy machine does not change), and the last answer."""
    found, took, computed = None, [], []
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = work()
        took.append(time.perf_counter() - began)
        computed.append(time.process_time() - began_cpu)
    return took, computed, found


def counts(found: MatchedRows) -> dict[str, int]:
    sizes = [
        found.same,
        len(found.removed),
        len(found.added),
        *(part.shape[1] for part in (found.relabelled, found.replaced, found.renamed)),
    ]
    return dict(zip(KINDS, sizes, strict=True))


def measure(case: Case, objects: FolderObjectStore, repeats: int) -> dict[str, Any]:
    took, computed, found = timed(lambda: match_rows(objects, case.a, case.b), repeats)
    told = counts(found)
    if {kind: number for kind, number in told.items() if number} != {kind: number for kind, number in case.expected.items() if number}:
        raise SystemExit(f"{case.name}: found {told}, expected {case.expected}")
    loading, _, _ = timed(lambda: [recorded_digests(objects, item, recorded_rows(objects, item)) for item in (case.a, case.b)], repeats)
    return {
        "case": case.name,
        "matched_by": found.matched_by,
        "counts": told,
        "moved": found.moved,
        "took_s": took,
        "processor_s": computed,
        "loading_s": loading,
    }


def quartiles(took: list[float]) -> str:
    low, middle, high = statistics.quantiles(took, n=4, method="inclusive")
    return f"{middle:.2f} s ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write everything that was found")
    options = parser.parse_args()
    count: int = options.rows
    results: list[dict[str, Any]] = []
    makers: list[Callable[[FolderObjectStore], Case]] = [
        lambda objects: one_space(objects, count, shuffled=False),
        lambda objects: one_space(objects, count, shuffled=True),
        lambda objects: two_spaces(
            objects, count, names=True, pictures=True, relabelled=0.01, title="two datasets by sample id, 1 % relabelled"
        ),
        lambda objects: two_spaces(objects, count, names=True, pictures=False, relabelled=0.01, title="the same without pictures"),
        lambda objects: two_spaces(
            objects, count, names=False, pictures=True, relabelled=0.01, title="two datasets by picture, 1 % relabelled"
        ),
        lambda objects: two_spaces(
            objects, count, names=True, pictures=True, relabelled=1.0, title="two datasets by sample id, all relabelled"
        ),
        lambda objects: two_spaces(
            objects, count, names=False, pictures=True, relabelled=1.0, title="two datasets by picture, all relabelled"
        ),
    ]
    for maker in makers:
        with tempfile.TemporaryDirectory() as folder:
            objects = FolderObjectStore(Path(folder))
            results.append(measure(maker(objects), objects, options.repeats))
            print(results[-1]["case"], file=sys.stderr)
    print(
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, NumPy {np.__version__}, {count:,} rows, {options.repeats} repetitions\n"
    )
    print("| case | matched by | diff, median (quartiles) | processor time | loading both alone |\n|---|---|---|---|---|")
    for item in results:
        times = [quartiles(item["took_s"]), *(f"{statistics.median(item[key]):.2f} s" for key in ("processor_s", "loading_s"))]
        print(f"| {item['case']} | {item['matched_by']} | {' | '.join(times)} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
