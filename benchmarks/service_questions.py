"""What is asked of both services, and what the right answers are.

Every question has, for each service, the requests (one for each subject) and how an answer is read; both must tell what the generator
knows.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from service_load import Request, ask
from service_records import PROJECTS, ROLES, RUNS_A_COMMIT, Records
from service_stores import mlflow_dataset

from lineage.model.run import RunState

PAGE, MOST = 50, 200
_SEARCH = "/api/2.0/mlflow/runs/search"
_EXPERIMENTS = [str(1 + number) for number in range(len(PROJECTS))]
_NEWEST = ["attributes.start_time DESC"]

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One look-up.

    Attributes:
        name: For the table.
        expected: The right answer for each subject.
        ours: Requests to our service, one for each subject, and how an answer is read; ``None`` where it has no such look-up.
        mlflow: The same of MLflow.
        budget_ms: 99th percentile with one client, at most.
        note: What is not alike.
    """

    name: str
    expected: list[Any]
    ours: tuple[list[Request], Read] | None
    mlflow: tuple[list[Request], Read] | None
    budget_ms: float | None = 10.0
    note: str = ""


def questions(records: Records, url: str, subjects: int = 40) -> list[Question]:
    """Every question, for subjects taken at random from a seed; the service at ``url`` tells where a page far down begins."""
    source = random.Random(7)
    runs = [source.randrange(records.runs) for _ in range(subjects)]
    newest = [*range(records.runs)][::-1]
    deep = min(500, max(4, records.runs // PAGE // 2) // 4 * 4) * PAGE
    versions = [records.version(run) for run in runs]

    def ids(chosen: list[int]) -> list[str]:
        return [records.run_id(run) for run in chosen]

    def fitting(run: int) -> list[int]:
        alike = (records.project(run), records.group(run), RunState.finished)
        return [other for other in newest if (records.project(other), records.group(other), records.state(other)) == alike]

    def data(run: int) -> Any:
        return [records.run_id(run), sorted((role, records.commit_id(records.version(run))) for role in ROLES)]

    def graph(run: int) -> list[str]:
        version = records.version(run)
        return [
            f"file:{records.model(run)}",
            f"run:{records.run_id(run)}",
            f"version:{records.dataset_id(version)}@{records.commit_id(version)}",
        ]

    def with_rate(run: int) -> list[int]:
        return [other for other in newest if other % 97 == run % 97][:PAGE]

    def with_best(least: float) -> list[int]:
        return [other for other in newest if records.last(other, "map") > least][:PAGE]

    bounds = [0.9 + source.random() / 11 for _ in range(3)]
    pictures = [(version % 4, records.first_row(version) + source.randrange(700)) for version in versions]
    seen = [sorted(ids(records.runs_of(version))) for version in versions]
    return [
        Question(
            "list, first page of 50",
            [ids(newest[:PAGE])],
            ([Request("/api/v1/runs")], _our_list),
            ([_search()], _their_list),
        ),
        Question(
            f"list, page {deep // PAGE + 1}",
            [ids(newest[deep : deep + PAGE])],
            ([Request(f"/api/v1/runs?cursor={_cursor(url, deep)}")], _our_list),
            ([_search(page_token=base64.b64encode(json.dumps({"offset": deep}).encode()).decode())], _their_list),
        ),
        Question(
            "list by project, group, state",
            [ids(fitting(run)) for run in runs],
            ([_ours(project=records.project(run), group=records.group(run), state="finished") for run in runs], _our_list),
            (
                [
                    _search(f"tags.group = '{records.group(run)}' and attributes.status = 'FINISHED'", only=1 + run % len(PROJECTS))
                    for run in runs
                ],
                _their_list,
            ),
        ),
        Question(
            "list by dataset version, 50 of 100",
            [ids(records.runs_of(version)[:PAGE]) for version in versions],
            ([_ours(dataset=records.uri(version), commit=records.commit_id(version)) for version in versions], _our_list),
            ([_search(_of_version(records, version)) for version in versions], _their_list),
            note="MLflow compares name and digest with different inputs of a run; here they agree",
        ),
        Question(
            "list by git commit",
            [ids([other for other in newest if other // RUNS_A_COMMIT == run // RUNS_A_COMMIT]) for run in runs],
            ([_ours(code=records.git_sha(run)) for run in runs], _our_list),
            ([_search(f"tags.`mlflow.source.git.commit` = '{records.git_sha(run)}'") for run in runs], _their_list),
        ),
        Question(
            "one run, whole record",
            ids(runs),
            ([Request(f"/api/v1/runs/{records.run_id(run)}") for run in runs], lambda told: told["id"]),
            ([_get(records, run) for run in runs], lambda told: told["run"]["info"]["run_id"]),
        ),
        Question(
            "data of a run",
            [data(run) for run in runs],
            ([Request(f"/api/v1/runs/{records.run_id(run)}/data") for run in runs], _our_data),
            ([_get(records, run) for run in runs], lambda told: _their_data(told["run"])),
            note="MLflow: the whole run",
        ),
        Question(
            "data of a model",
            [data(run) for run in runs],
            ([Request(f"/api/v1/models/{records.model(run)}/data") for run in runs], lambda told: _our_data(told["runs"][0])),
            ([_search(f"tags.model_digest = '{records.model(run)}'") for run in runs], lambda told: _their_data(told["runs"][0])),
            note="MLflow has no look-up by a file's digest: here every run has it as a tag",
        ),
        Question(
            "all 100 runs of a dataset version",
            seen,
            (
                [
                    Request(f"/api/v1/datasets/{records.dataset_id(version)}/versions/{records.commit_id(version)}/runs")
                    for version in versions
                ],
                _our_seen,
            ),
            ([_search(_of_version(records, version), most=1000) for version in versions], lambda told: sorted(_their_list(told))),
            note="ours: 300 inputs with their roles, and the models made",
        ),
        Question(
            "which runs saw a picture (100)",
            seen,
            ([Request(f"/api/v1/samples/sha256:{records.picture(*place).hex()}/runs") for place in pictures], _our_seen),
            None,
            note="MLflow has no such look-up",
        ),
        Question(
            "which runs saw a sample id (100)",
            seen,
            ([Request(f"/api/v1/samples?id={quote(records.sample_id(*place))}") for place in pictures], _our_seen),
            None,
            note="MLflow has no such look-up",
        ),
        Question(
            "graph around a run, two steps each way",
            [graph(run) for run in runs],
            ([Request(f"/api/v1/runs/{records.run_id(run)}/lineage?depth=2") for run in runs], _our_graph),
            None,
            note="MLflow has no such look-up",
        ),
        Question(
            "newest 50 with a parameter",
            [ids(with_rate(run)) for run in runs],
            None,
            ([_search(f"params.`optimizer.lr` = '{records.learning_rate(run)}'") for run in runs], _their_list),
            note="our service has no such look-up",
        ),
        Question(
            "newest 50 with a metric above a bound",
            [ids(with_best(least)) for least in bounds],
            None,
            ([_search(f"metrics.map > {least}") for least in bounds], _their_list),
            note="our service has no such look-up",
        ),
    ]


# --- ours ---------------------------------------------------------------------------------------------------------------------


def _ours(**filters: str) -> Request:
    return Request(f"/api/v1/runs?{urlencode(filters)}")


def _cursor(url: str, runs: int) -> str:
    """Where the list goes on after so many runs, as a client finds it: page by page."""
    cursor = ""
    for _ in range(runs // MOST):
        cursor = ask(url, Request(f"/api/v1/runs?limit={MOST}{cursor and '&cursor='}{cursor}"))["next_cursor"]
    return cursor


def _our_list(told: Any) -> list[str]:
    return [item["id"] for item in told["items"]]


def _our_data(told: Any) -> Any:
    return [told["run_id"], sorted((item["role"], item["commit_id"]) for item in told["inputs"])]


def _our_graph(told: Any) -> list[str]:
    return sorted(node["id"] for node in told["nodes"] if node["kind"] != "view")


def _our_seen(told: Any) -> list[str]:
    runs = {item["run_id"] for item in told["runs"]}
    assert runs == {item["run_id"] for item in told["models"]}, "every run made a model"
    return sorted(runs)


# --- MLflow's -----------------------------------------------------------------------------------------------------------------


def _search(text: str = "", *, only: int | None = None, most: int = PAGE, page_token: str | None = None) -> Request:
    body: dict[str, Any] = {"experiment_ids": _EXPERIMENTS if only is None else [str(only)], "max_results": most, "order_by": _NEWEST}
    return Request(_SEARCH, body | ({"filter": text} if text else {}) | ({"page_token": page_token} if page_token else {}))


def _of_version(records: Records, version: int) -> str:
    name, digest = mlflow_dataset(records, version, "train")
    return f"dataset.name = '{name}' and dataset.digest = '{digest}'"


def _get(records: Records, run: int) -> Request:
    return Request(f"/api/2.0/mlflow/runs/get?run_id={records.run_id(run)}")


def _their_list(told: Any) -> list[str]:
    return [item["info"]["run_id"] for item in told.get("runs", [])]


def _their_data(run: Any) -> Any:
    inputs = run["inputs"]["dataset_inputs"]
    return [run["info"]["run_id"], sorted((item["tags"][0]["value"], item["dataset"]["digest"]) for item in inputs)]
