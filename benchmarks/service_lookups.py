"""Look-ups over HTTP beside MLflow's tracking server, over the same runs, on SQLite and on PostgreSQL.

    python benchmarks/service_lookups.py --mlflow-python /tmp/mlflow-server/bin/python [--runs 100000] [--cache FOLDER]
        [--clients 1 8] [--rounds 3] [--seconds 0.7] [--json FILE] [--plot FILE.png] [--no-pages] [--only-build]

The runs are made up (``service_records.py``) and built once into the cache, which takes most of the time; a build that was broken off goes
on where it stood. All servers then run at the same time, as they start by default (MLflow's with four processes, ours with one, and once
more with four), and are asked in turn, question by question, each round in another order; the answers to ten subjects of each question are
compared with the right ones first. Figures are medians of the rounds. Requests go over loopback on kept connections, from threads of one
process: the clients share the machine's cores with the servers, the same for all. Processor time is that of a server's own processes,
without PostgreSQL's; a busy machine disturbs it least. Needs the extras ``postgres`` and ``dev``, and a Chromium for page loads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from service_load import ask, figures, load
from service_questions import Question, questions
from service_records import Records
from service_servers import Server, make_database, postgres, start_mlflow, start_ours
from service_stores import build_mlflow, build_ours, copy_ours

from lineage.adapters.environment.local import LocalEnvironmentProbe

PACKAGES = 20
CHECKED = 10
MANY = " x "
"""Before the number of processes in the name of a server that has several."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--mlflow-python", help="Python of an environment with MLflow and psycopg; without it only ours is measured")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "lineage-service-lookups")
    parser.add_argument("--processes", type=int, default=4, help="a third server of ours, over PostgreSQL, with so many; 1 for none")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each question in each round; at least one request of each client")
    parser.add_argument("--only", help="questions whose name has this text")
    parser.add_argument("--starts", type=int, default=3, help="how often the start of each server is measured")
    parser.add_argument("--only-build", action="store_true", help="fill the cache and end")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--no-pages", action="store_true", help="leave the page loads in a browser out")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {options.runs:,} runs", flush=True)
    folder = options.cache.absolute() / str(options.runs)
    folder.mkdir(parents=True, exist_ok=True)
    records = Records(options.runs, _environment())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # or the servers would stay
    with ExitStack() as stack:
        address = stack.enter_context(postgres(folder))
        stores = build(folder, address, records, options.mlflow_python)
        if options.only_build:
            return
        if options.processes > 1:
            stores[f"ours postgresql{MANY}{options.processes}"] = stores["ours postgresql"]
        result: dict[str, Any] = {"runs": options.runs, "cores": os.cpu_count(), "python": platform.python_version()}
        result["start_s"] = start_up(folder, stores, options.mlflow_python, options.starts)
        servers: dict[str, Server] = {}
        for name, store in stores.items():
            servers[name] = start(folder, name, store, options.mlflow_python)
            stack.callback(servers[name].stop)
        result["memory_mb"] = {name: {"started": server.memory_mb()} for name, server in servers.items()}
        asked = [
            question for question in questions(records, servers["ours sqlite"].url) if not options.only or options.only in question.name
        ]
        result["wrong"] = check(servers, asked)
        result["asked"] = measure(servers, asked, options.clients, options.rounds, options.seconds, result["wrong"])
        result["stall"] = stall(servers, asked, options.seconds)
        for name, server in servers.items():
            result["memory_mb"][name]["loaded"] = server.memory_mb()
        _keep(result, options.json)
        if not options.no_pages:
            from service_pages import measure_pages

            result["pages"] = measure_pages({name: server.url for name, server in servers.items()}, records, options.rounds)
    _keep(result, options.json)
    show(result, asked)
    if options.plot:
        from service_plot import plot

        plot(result, options.plot)
    if result["wrong"]:
        sys.exit("\n".join(("wrong answers, or none:", *result["wrong"])))


def _keep(result: dict[str, Any], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _environment() -> Any:
    found = LocalEnvironmentProbe(None).describe()
    return found.model_copy(update={"packages": dict([*found.packages.items()][:PACKAGES]), "sources": {}})


def build(folder: Path, address: str, records: Records, mlflow_python: str | None) -> dict[str, str]:
    """What each server is started over, by name."""
    began = time.perf_counter()
    ours = folder / "ours"
    ours.mkdir(exist_ok=True)
    stores = {"ours sqlite": str(ours), "ours postgresql": make_database(address, "ours")}
    # In a process beside this one: it takes as long as ours does.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        theirs = []
        for kind in ("sqlite", "postgresql") if mlflow_python else ():
            place = folder / f"mlflow-{kind}"
            place.mkdir(exist_ok=True)
            url = f"sqlite:///{place}/mlflow.db" if kind == "sqlite" else make_database(address, "mlflow")
            stores[f"mlflow {kind}"] = url
            theirs.append(beside.submit(build_mlflow, str(mlflow_python), place, url, records))
        build_ours(ours, records)
        copy_ours(ours, stores["ours postgresql"], records)
        for part in theirs:
            part.result()
    print(f"built in {time.perf_counter() - began:.0f} s", flush=True)
    return stores


def start(folder: Path, name: str, store: str, mlflow_python: str | None) -> Server:
    """A server, by name."""
    if name.startswith("ours"):
        processes = name.partition(MANY)[2]
        return start_ours(store, folder / "ours", *(["--workers", processes] if processes else []))
    assert mlflow_python is not None
    return start_mlflow(mlflow_python, store, folder / name.replace(" ", "-"))


def start_up(folder: Path, stores: dict[str, str], mlflow_python: str | None, starts: int) -> dict[str, list[float]]:
    """Seconds from the start of each server to its first answer, in turn."""
    found: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(starts):
        for name, store in stores.items():
            server = start(folder, name, store, mlflow_python)
            server.stop()
            found[name].append(server.ready_s)
    return found


def check(servers: dict[str, Server], asked: list[Question]) -> list[str]:
    """Compare answers with the right ones; says which are wrong. Each server has then been asked everything before it is timed."""
    wrong = []
    for question in asked:
        for name, server in servers.items():
            side = question.ours if name.startswith("ours") else question.mlflow
            if side is None:
                continue
            for request, expected in [*zip(side[0], question.expected, strict=True)][:CHECKED]:
                found = side[1](ask(server.url, request))
                if found != expected:
                    what = f"{name}: {question.name}: {request.path} {request.body or ''}"
                    wrong.append(f"{what}: expected {expected!s:.200}, found {found!s:.200}")
                    break
    return wrong


def measure(
    servers: dict[str, Server], asked: list[Question], clients: list[int], rounds: int, seconds: float, failures: list[str]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Question to server to number of clients to figures; where a server fails, ``failures`` gets why, and the round does not count."""
    took: dict[tuple[str, str, int], list[list[float]]] = {}
    cpu_s: dict[tuple[str, str, int], float] = {}
    for number in range(rounds):
        for question in asked:
            for count in clients:
                names = [*servers]
                random.Random(f"{number} {question.name} {count}").shuffle(names)
                for name in names:
                    side = question.ours if name.startswith("ours") else question.mlflow
                    if side is not None:
                        place, before = (question.name, name, count), servers[name].cpu_s()
                        try:
                            times = load(servers[name].url, side[0], clients=count, seconds=seconds)
                        except RuntimeError as error:
                            failures.append(f"{name}: {question.name}, {count} clients: {error}")
                            continue
                        took.setdefault(place, []).append(times)
                        cpu_s[place] = cpu_s.get(place, 0.0) + servers[name].cpu_s() - before
        print(f"round {number + 1} of {rounds}", flush=True)
    result: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for place, found_rounds in took.items():
        what, name, count = place
        found = figures(found_rounds, count)
        found["cpu_ms"] = 1e3 * cpu_s[place] / found["requests"]
        result.setdefault(what, {}).setdefault(name, {})[str(count)] = found
    return result


def stall(servers: dict[str, Server], asked: list[Question], seconds: float) -> dict[str, float]:
    """Median of one run for a client that does not ask for immediate acknowledgements, as most do not."""
    return {
        name: figures([load(server.url, side[0], clients=1, seconds=seconds, acknowledge=False)], 1)["p50_ms"]
        for one in asked
        for name, server in servers.items()
        if one.name.startswith("one run") and (side := one.ours if name.startswith("ours") else one.mlflow) is not None
    }


def show(result: dict[str, Any], asked: list[Question]) -> None:
    """Print tables."""
    print(
        "\nstart to first answer, s: "
        + ", ".join(f"{name} {statistics.median(took):.2f}" for name, took in result["start_s"].items() if took)
    )
    memory = (f"{name} {of['started']:.0f} / {of['loaded']:.0f}" for name, of in result["memory_mb"].items())
    print("memory, MB, started / after the questions: " + ", ".join(memory))
    for question in asked:
        note = f"   ({question.note})" if question.note else ""
        print(f"\n{question.name}{note}")
        for name, by_clients in result["asked"].get(question.name, {}).items():
            for count, of in by_clients.items():
                missed = name.startswith("ours") and count == "1" and question.budget_ms is not None and of["p99_ms"] > question.budget_ms
                told = f"p50 {of['p50_ms']:9.2f} ms   p99 {of['p99_ms']:9.2f} ms   {of['per_s']:8.1f} /s   {of['cpu_ms']:8.2f} ms CPU"
                over = f"   over the budget of {question.budget_ms:.0f} ms" if missed else ""
                print(f"  {name:<20}{count:>3} clients   {told}   {of['requests']:6.0f} requests{over}")
    print("\none run without immediate acknowledgements, p50 ms: " + ", ".join(f"{name} {of:.2f}" for name, of in result["stall"].items()))
    for page, by_server in result.get("pages", {}).items():
        print(
            f"{page}: " + ", ".join(f"{name} {of['shown_ms']:.0f} ms shown, {of['bytes'] / 1e3:.0f} kB" for name, of in by_server.items())
        )


if __name__ == "__main__":
    main()
