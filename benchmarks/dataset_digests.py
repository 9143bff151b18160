"""The same edits against our identity of a view and against the digests of peers.

    python benchmarks/dataset_digests.py [--mlflow-python PATH] [--dvc-python PATH] [--json FILE] [--plot FILE.svg]

Two data sets are kept in Deep Lake: drawn VisDrone scenes (pictures, boxes, labels) and a table of 20,000 annotations. One thing after the
other is edited: the identity must change. Then everything but the rows is changed: it must stay. Every case is a dataset on disk that is
recorded through ``run.use_dataset``; the peers are given the rows that were read back from it, in the form that their users give them.
Last, the time of one digest. The peers' environments are made as benchmarks/README.md says; without one its columns are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import deeplake
from digests import edits
from digests.cases import Case, make_cases
from digests.stored import store, write_files
from digests.table import draw, print_table
from digests.timing import measure
from peers.columns import Table, save

import lineage

PROGRAM = Path(__file__).resolve()
PEERS = PROGRAM.parent / "peers"
LARGER, LARGER_SIZE = 200, (1360, 765)
"""Pictures for the times only: as many, of a size that VisDrone has."""


def record(folder: Path, commit_id: str | None = None) -> tuple[str, Table]:
    """Our digest, and the rows, both through the public functions."""
    with lineage.start_run(project="benchmark") as run:
        view = run.use_dataset(str(folder), role="train", commit_id=commit_id)
    names = {name: list(known) for name, known in view.class_names.items() if known}
    return view.record.content_digest, Table(view.read(range(len(view))), names)


def digest_ours(cases: list[Case]) -> None:
    """Our digest of every case, and its rows.

    Raises:
        RuntimeError: The rows do not differ where they should, or the other way round: the case would prove nothing.
    """
    for case in cases:
        if case.elsewhere:
            program = [sys.executable, str(PROGRAM), "--digest", str(case.folder)]
            case.digests["ours"] = subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
            case.table = cases[0].table
            continue
        case.digests["ours"], table = record(case.folder, case.commit_id)
        case.table = Table({name: table.columns[name] for name in case.order}, table.class_names)
        if case.table.differs(cases[0].table) != case.should_change:
            raise RuntimeError(f"the rows of '{case.name}' are not as the case says")


def digest_mlflow(cases: list[Case], folder: Path, python: str, repeats: int) -> tuple[str, dict[str, float]]:
    """MLflow's digests of the rows that were read; returns its version and the times of the first case."""
    for number, case in enumerate(cases):
        save(case.table, folder / f"{number}.npz")
    # The first case alone, for its times; those of another process in another process.
    alone = [number for number, case in enumerate(cases) if case.elsewhere]
    rest = [number for number, case in enumerate(cases) if number and not case.elsewhere]
    times: dict[str, float] = {}
    for numbers, count in (([0], repeats), (rest, 1), (alone, 1)):
        if numbers:
            found = _ask(
                [python, str(PEERS / "mlflow_digests.py"), "--repeats", str(count), *(str(folder / f"{number}.npz") for number in numbers)]
            )
            for number, digests in found["digests"].items():
                cases[int(number)].digests |= {method: digest for method, (digest, _) in digests.items()}
        if numbers == [0]:
            times = {method: took for method, (_, took) in found["digests"]["0"].items()}
    return str(found["versions"]), times


def digest_dvc(cases: list[Case], folder: Path, python: str) -> str:
    """DVC's digests of the rows as plain files, and of the dataset's own folder; returns its version."""
    for number, case in enumerate(cases):
        write_files(case.table, folder / f"{number}-files")
        shutil.copytree(case.folder, folder / f"{number}-store")
    parts = {"files": "DVC files", "store": "DVC store"}
    names = [str(folder / f"{number}-{part}") for number in range(len(cases)) for part in parts]
    found = _ask([python, str(PEERS / "dvc_digests.py"), *names])
    for name, (digest, _) in found["digests"].items():
        number, _, part = name.partition("-")
        cases[int(number)].digests[parts[part]] = digest
    return str(found["versions"])


def _ask(program: list[str]) -> dict[str, Any]:
    answer = subprocess.run(program, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{' '.join(program[:2])} failed:\n{answer.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def compare(name: str, base: Table, cases: list[Case], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every case of a data set by every method, and the times."""
    versions: dict[str, str] = {}
    digest_ours(cases)
    times = measure(cases[0], folder, options.repeats)
    for peer in ("mlflow", "dvc"):
        (folder / peer).mkdir()
    if options.mlflow_python:
        versions["MLflow"], of_peer = digest_mlflow(cases, folder / "mlflow", options.mlflow_python, options.repeats)
        times |= of_peer
    if options.dvc_python and len(cases) > 1:
        versions["DVC"] = digest_dvc(cases, folder / "dvc", options.dvc_python)
    first = cases[0].digests
    found = [
        {
            "case": case.name,
            "should_change": case.should_change,
            "changed": {method: digest != first[method] for method, digest in case.digests.items()},
        }
        for case in cases[1:]
    ]
    return {"name": name, "rows": len(base), "methods": list(first), "cases": found, "times_s": times, "versions": versions}


def run_all(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Pictures, annotations, and larger pictures for the times only."""
    results: list[dict[str, Any]] = []
    for name in ("pictures", "annotations", "larger pictures"):
        place = folder / name
        rows, size = (edits.SCENES, None) if name == "pictures" else (LARGER, LARGER_SIZE)
        if name == "annotations":
            base, more = edits.split(edits.loose_objects(edits.OBJECTS + edits.MORE), edits.OBJECTS)
            changes = edits.object_edits(base)
        else:
            base, more = edits.split(edits.drawn_scenes(folder / f"{name} drawn", rows + edits.MORE, size), rows)
            changes = edits.scene_edits(base)
        if name == "larger pictures":
            place.mkdir()
            store(base, place / "recorded")
            cases = [Case("recorded", False, place / "recorded", list(base.columns))]
        else:
            cases = make_cases(base, more, changes, place, record)
        print(f"{name}: {len(base):,} rows, {len(cases) - 1} cases", file=sys.stderr)
        results.append(compare(name, base, cases, place, options))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow-python", type=_absolute, help="interpreter of an environment with benchmarks/peers/mlflow.txt")
    parser.add_argument("--dvc-python", type=_absolute, help="interpreter of an environment with benchmarks/peers/dvc.txt")
    parser.add_argument("--json", type=_absolute, help="write everything that was found")
    parser.add_argument("--plot", type=_absolute, help="write the cases as an SVG picture")
    parser.add_argument("--repeats", type=int, default=7, help="of the timed digests")
    parser.add_argument("--digest", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digest:
        print(record(Path(options.digest))[0])
        return
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        git = ["git", "-c", "user.name=b", "-c", "user.email=b@x"]
        subprocess.run([*git, "init", "--quiet"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
        os.environ["LINEAGE_STORE"] = str(Path(temporary, "store"))
        results = run_all(Path(temporary), options)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, deeplake {deeplake.__version__}, {options.repeats} repetitions")
    for result in results:
        print_table(result)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    if options.plot:
        Path(options.plot).write_text(draw(results))
    wrong = [case["case"] for result in results for case in result["cases"] if case["changed"]["ours"] != case["should_change"]]
    if wrong:
        raise SystemExit(f"our own digest is wrong: {'; '.join(wrong)}")


def _absolute(path: str) -> str:
    # Not resolved: the interpreter of an environment is a link, and only the link leads to its packages.
    return os.path.abspath(os.path.expanduser(path))


if __name__ == "__main__":
    main()
