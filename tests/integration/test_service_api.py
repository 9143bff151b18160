"""The API over a real store with records that the real layer made."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.live import LiveRun
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import wire
from lineage.wiring_jobs import job_queue
from service.app import create_app

ROOT = Path(__file__).resolve().parents[2]
COUNT = 17  # more runs than first digits of an id: some digit begins two of them


def browse(ports: Ports) -> TestClient:
    return TestClient(create_app(ports), base_url="http://127.0.0.1", raise_server_exceptions=False)


def ports_in(folder: Path) -> Ports:
    return wire(Settings(str(folder), folder))


@pytest.fixture
def ports(repository: Path) -> Iterator[Ports]:
    """An empty store beside a git repository with one commit."""
    made = ports_in(repository / ".lineage")
    yield made
    made.runs.close()


@pytest.fixture
def start(ports: Ports, repository: Path) -> Callable[..., LiveRun]:
    """Starts a run in the repository."""

    def begin(**options: Any) -> LiveRun:
        return start_run(ports, folder=repository, command=["python", "train.py"], **options)

    return begin


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """A store with many finished runs, only to be read."""
    folder = tmp_path_factory.mktemp("shelf")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    ports = ports_in(folder / ".lineage")
    code = None
    for number in range(COUNT):
        with start_run(
            ports,
            folder=folder,
            command=["python", "train.py"],
            code=code,
            project="even" if number % 2 == 0 else "odd",
            group="first" if number < 5 else None,
            job_type="train" if number % 3 == 0 else "evaluate",
            seed=number,
        ) as run:
            code = run.record.code
            run.log({"loss": 1.0 / (number + 1)})
    yield ports
    ports.runs.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ports, Run]]:
    """A run that read a saved view of a real Deep Lake dataset and made a model, and another run beside it."""
    import deeplake
    from deeplake import types

    folder = tmp_path_factory.mktemp("trained")
    uri = f"file://{folder}/pictures"
    dataset = deeplake.create(uri, schema={"sample_id": types.Text(), "boxes": types.Array("float32", 2), "width": types.Int32()})
    dataset.append(
        {"sample_id": [f"p{i}" for i in range(6)], "boxes": [np.full((1, 4), i, "float32") for i in range(6)], "width": [*range(6)]}
    )
    dataset.commit("made")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    ports = ports_in(folder / ".lineage")
    ports.datasets().save_view(uri, "select * where width > 1", "wide", "for the test")
    weights = folder / "model.pth"
    weights.write_bytes(b"weights")
    with start_run(ports, folder=folder, command=["python", "train.py"], project="parking", job_type="train", seed=7) as run:
        run.use_dataset(uri, view="wide", role="train")
        run.use_dataset(uri, role="validation")
        run.log_artifact(weights, kind="model")
    with start_run(ports, folder=folder, command=["python", "other.py"], project="parking", job_type="train", code=run.record.code):
        pass
    yield ports, ports.runs.get(run.id)
    ports.runs.close()


# --- one run --------------------------------------------------------------------------------------------------------


def test_a_run_is_what_the_command_line_shows(trained: tuple[Ports, Run]) -> None:
    """GET /runs/{id} is ``lineage show --json``, and GET /models/{digest}/data is ``lineage data --json``."""
    ports, run = trained
    digest = run.outputs[0].digest

    def command(*words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "lineage", *words, "--json"], cwd=ports.folder.parent, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    with browse(ports) as client:
        assert client.get(f"/api/v1/runs/{run.id}").json() == command("show", run.id)
        assert client.get(f"/api/v1/models/{digest}/data").json() == command("data", digest)
        assert client.get(f"/api/v1/runs/{run.id[:10]}/data").json() == command("data", run.id)["runs"][0]


def test_what_a_run_read_is_answered_by_role(trained: tuple[Ports, Run]) -> None:
    """GET /runs/{id}/data names each input's role, dataset, commit id, view and rows."""
    ports, run = trained

    inputs = browse(ports).get(f"/api/v1/runs/{run.id}/data").json()["inputs"]

    assert [(item["role"], item["view_name"], item["rows"], item["rows_total"]) for item in inputs] == [
        ("train", "wide", 4, 6),
        ("validation", None, 6, 6),
    ]
    assert {item["uri"] for item in inputs} == {run.inputs[0].uri}
    assert all(item["content_digest"].startswith("sha256:") and item["commit_id"] for item in inputs)


def test_a_unique_prefix_names_a_run(shelf: Ports) -> None:
    """A prefix that fits one run answers that run; one that fits several is refused with the candidates."""
    client = browse(shelf)
    ids = shelf.runs.ids_with_prefix("", 100)
    shared = next(digit for digit in "0123456789abcdef" if sum(run_id.startswith(digit) for run_id in ids) > 1)

    assert client.get(f"/api/v1/runs/{ids[0][:16]}").json()["id"] == ids[0]
    refused = client.get(f"/api/v1/runs/{shared}")
    assert refused.status_code == 400
    assert refused.json()["code"] == "ambiguous_id"
    assert set(refused.json()["candidates"]) <= {run_id for run_id in ids if run_id.startswith(shared)}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/runs/" + "0" * 32, 404, "not_found"),
        ("/api/v1/runs/0000000", 404, "not_found"),
        ("/api/v1/runs/train", 400, "usage"),
        ("/api/v1/runs/" + "0" * 65, 422, "invalid_request"),
        ("/api/v1/runs/" + "0" * 32 + "/metrics", 404, "not_found"),
        ("/api/v1/models/sha256:" + "0" * 64 + "/data", 404, "not_found"),
        ("/api/v1/models/sha256:" + "0" * 63 + "/data", 422, "invalid_request"),
        ("/api/v1/models/sha256:" + "A" * 64 + "/data", 422, "invalid_request"),
        ("/api/v1/models/..%2f..%2fetc%2fpasswd/data", 404, "no_such_page"),
        ("/api/v1/nothing", 404, "no_such_page"),
        ("/api/v1/runs?limit=0", 422, "invalid_request"),
        ("/api/v1/runs?limit=201", 422, "invalid_request"),
        ("/api/v1/runs?state=sleeping", 422, "invalid_request"),
        ("/api/v1/runs?projcet=parking", 422, "invalid_request"),
        ("/api/v1/runs?cursor=nonsense", 400, "usage"),
        ("/api/v1/runs?cursor=%F0%9F%92%A9", 400, "usage"),
        ("/api/v1/runs?dataset=pictures/train", 400, "usage"),
    ],
)
def test_bad_requests_are_problem_documents(shelf: Ports, path: str, status: int, code: str) -> None:
    """Each names its kind, the path and what is wrong."""
    response = browse(shelf).get(path)

    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems#{code}")
    assert problem["detail"]
    assert problem["title"]


def test_a_bad_parameter_is_named_with_what_was_found(shelf: Ports) -> None:
    """The problem of an invalid request says which parameter, what was expected and what was found."""
    problem = browse(shelf).get("/api/v1/runs?limit=1000").json()

    assert [item["parameter"] for item in problem["errors"]] == ["limit"]
    assert "200" in problem["detail"]
    assert "1000" in problem["detail"]


def test_another_method_is_refused(shelf: Ports) -> None:
    """The API only reads."""
    response = browse(shelf).delete("/api/v1/runs")

    assert (response.status_code, response.json()["code"], response.headers["allow"]) == (405, "method_not_allowed", "GET")


def test_metrics_are_series_in_the_order_of_the_calls(ports: Ports, start: Callable[..., LiveRun]) -> None:
    """One series for each metric with its own steps; numbers that JSON cannot hold are words."""
    with start() as run:
        run.log({"loss": 2.0})
        run.log({"loss": float("nan"), "iou": 0.25})
        run.log({"loss": float("-inf")}, step=10)

    answer = browse(ports).get(f"/api/v1/runs/{run.id}/metrics").json()

    assert answer["run_id"] == run.id
    assert [(item["name"], item["steps"], item["values"]) for item in answer["series"]] == [
        ("iou", [1], [0.25]),
        ("loss", [0, 1, 10], [2.0, "nan", "-inf"]),
    ]
    assert all(len(item["at"]) == len(item["steps"]) for item in answer["series"])


def test_an_unchanged_run_is_not_sent_twice(ports: Ports, start: Callable[..., LiveRun]) -> None:
    """With its ETag a run is answered 304 without a body, until the record grows."""
    with start() as run:
        pass
    client = browse(ports)
    path = f"/api/v1/runs/{run.id}"
    tag = client.get(path).headers["etag"]

    again = client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    run.note("looked at")
    assert client.get(path, headers={"If-None-Match": tag}).json()["notes"] == ["looked at"]


def test_an_altered_record_is_a_problem_not_a_crash(ports: Ports, start: Callable[..., LiveRun]) -> None:
    """A record that cannot be read any more is reported as an integrity problem."""
    with start() as run:
        pass
    with closing(sqlite3.connect(ports.runs.location)) as connection, connection:
        connection.execute("UPDATE runs SET document = '{}'")

    response = browse(ports).get(f"/api/v1/runs/{run.id}")
    assert (response.status_code, response.json()["code"]) == (500, "integrity")


# --- lists ------------------------------------------------------------------------------------------------------------


def pages(client: TestClient, **filters: Any) -> Iterator[list[dict[str, Any]]]:
    cursor: dict[str, str] = {}
    while True:
        answer = client.get("/api/v1/runs", params=filters | cursor).json()
        yield answer["items"]
        if answer["next_cursor"] is None:
            return
        cursor = {"cursor": answer["next_cursor"]}


@pytest.mark.parametrize("limit", [1, 5, COUNT, 200])
def test_pages_hold_every_run_once_newest_first(shelf: Ports, limit: int) -> None:
    """Following the cursor gives each run once, whatever the size of a page; the last page has no cursor."""
    found = list(pages(browse(shelf), limit=limit))

    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    seeds = [run["seed"] for page in found for run in page]
    assert seeds == list(reversed(range(COUNT)))


def test_runs_that_start_meanwhile_do_not_disturb_the_pages(ports: Ports, start: Callable[..., LiveRun]) -> None:
    """A cursor goes on below the last run seen, so newer runs are neither shown twice nor push others out."""
    for seed in range(4):
        with start(seed=seed):
            pass
    client = browse(ports)
    first = client.get("/api/v1/runs?limit=2").json()
    with start(seed=4):
        pass

    second = client.get("/api/v1/runs", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [run["seed"] for run in first["items"] + second["items"]] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({"project": "odd"}, lambda n: n % 2 == 1),
        ({"group": "first"}, lambda n: n < 5),
        ({"job_type": "train", "project": "even"}, lambda n: n % 6 == 0),
        ({"state": "finished"}, lambda n: True),
        ({"state": "running"}, lambda n: False),
        ({"project": "nobody's"}, lambda n: False),
        ({"project": "' OR 1=1 --"}, lambda n: False),
    ],
)
def test_filters_choose_runs(shelf: Ports, filters: dict[str, str], fits: Callable[[int], bool]) -> None:
    """Filters combine, hold across pages, and take any text as mere text."""
    found = [run["seed"] for page in pages(browse(shelf), limit=3, **filters) for run in page]

    assert found == [number for number in reversed(range(COUNT)) if fits(number)]


def test_runs_are_found_by_their_data(trained: tuple[Ports, Run]) -> None:
    """By address (in any spelling), dataset id, commit id and view id; all conditions on one and the same input."""
    ports, run = trained
    client = browse(ports)
    used = run.inputs[0]

    def found(**filters: str | None) -> list[str]:
        return [item["id"] for item in client.get("/api/v1/runs", params=filters).json()["items"]]

    assert len(found()) == 2
    assert found(dataset=used.uri) == found(dataset=used.uri.removeprefix("file://") + "/") == [run.id]
    assert found(dataset_id=used.dataset_id, commit=used.commit_id) == found(view=used.view_id) == [run.id]
    assert found(dataset=used.uri + "-other") == found(commit="0000000009c00000000") == found(view="wide-not") == []


def test_an_item_says_in_short_what_happened(trained: tuple[Ports, Run]) -> None:
    """A list shows inputs and outputs with their digests, but neither environment nor configuration."""
    ports, run = trained

    item = browse(ports).get("/api/v1/runs").json()["items"][1]

    assert " ".join(item) == (
        "id name project group job_type state started_at ended_at duration_s seed inputs outputs reproduces verdicts fingerprint"
    )
    assert (item["id"], item["fingerprint"], item["verdicts"]) == (run.id, run.fingerprint, [])
    assert [(used["role"], used["view_name"], used["rows"]) for used in item["inputs"]] == [("train", "wide", 4), ("validation", None, 6)]
    assert [(made["name"], made["kind"], made["digest"]) for made in item["outputs"]] == [("model.pth", "model", run.outputs[0].digest)]


def test_a_killed_run_is_shown_as_aborted_and_ends_no_page_early(
    ports: Ports, start: Callable[..., LiveRun], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs whose process is gone leave the list of running ones, and the runs behind them are still reached."""
    alive = start(seed=1)
    monkeypatch.setenv("LINEAGE_STORE", str(ports.folder))
    program = "import lineage, os; [lineage.start_run(seed=2) for _ in range(2)]; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program], cwd=repository, check=False)
    client = browse(ports)

    running = [run["seed"] for page in pages(client, state="running", limit=1) for run in page]

    assert running == [1]
    assert [run["state"] for run in client.get("/api/v1/runs").json()["items"]] == ["aborted", "aborted", "running"]
    alive.finish()


# --- the service itself -------------------------------------------------------------------------------------------------


def test_health_is_that_of_the_store(ports: Ports) -> None:
    """200 while the store answers, 503 with a problem document when it does not."""
    client = browse(ports)
    assert client.get("/healthz").json()["status"] == "ok"

    ports.runs.close()
    location = Path(ports.runs.location)
    for file in location.parent.glob("lineage.sqlite*"):
        file.unlink()
    location.write_bytes(b"this is no database" * 100)

    response = client.get("/healthz")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def test_an_unforeseen_error_tells_nothing_about_the_inside() -> None:
    """A defect is a plain problem document with the headers of every answer; the traceback goes to the log."""
    client = browse(None)  # type: ignore[arg-type]  # ports that fail in a way nobody foresaw

    response = client.get("/api/v1/runs")

    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "NoneType" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


def test_another_host_name_is_not_answered(shelf: Ports) -> None:
    """A page elsewhere whose name resolves to this machine cannot read records; addresses, localhost and named hosts can."""
    app = create_app(shelf, allowed_hosts=("lineage.example",))

    def status(host: str) -> int:
        return TestClient(app, base_url="http://127.0.0.1").get("/api/v1/runs", headers={"Host": host}).status_code

    assert [status(host) for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost.evil.example:80")] == [421] * 5
    assert [status(host) for host in ("localhost:8765", "127.0.0.1", "[::1]:8765", "10.1.2.3", "LINEAGE.example:443")] == [200] * 5


def test_other_origins_may_not_read(shelf: Ports) -> None:
    """CORS is closed: no answer carries permission for another origin."""
    client = browse(shelf)
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}

    for response in (client.get("/api/v1/runs", headers=origin), client.options("/api/v1/runs", headers=origin)):
        assert [name for name in response.headers if name.startswith("access-control")] == []


def test_the_description_has_an_example_for_every_operation(shelf: Ports) -> None:
    """Each route has an example of its answer and of its body, as its own schema wants them; each error is a problem document."""
    with closing(job_queue(Settings(str(shelf.folder), shelf.folder))) as jobs:
        described = create_app(shelf, jobs=jobs).openapi()

    def check(content: dict[str, Any], where: tuple[str, ...]) -> None:
        assert content, where
        for kind, told in content.items():
            assert "example" in told or "examples" in told, (*where, kind)
            if "schema" in told and kind == "application/json":
                schema = told["schema"] | {"components": described["components"]}
                jsonschema_rs.validate(schema, told["example"])

    wanted = {"runs", "runs/{id}", "runs/{id}/steps", "groups", "models", "models/{digest}/data", "diff", "diff/steps", "impact", "samples"}
    assert {f"/api/v1/{path}" for path in wanted} | {"/healthz", "/metrics", "/api/v1/store/runs/find"} <= described["paths"].keys()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                check(operation["requestBody"]["content"], (method, path, "body"))
            for status, answer in operation["responses"].items():
                if status not in ("204", "304"):
                    check(answer.get("content", {}), (method, path, status))
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


def test_many_clients_at_once_get_the_same_answers(shelf: Ports) -> None:
    """A real server on loopback answers from a pool of threads, each with its own connection to the store."""
    server = uvicorn.Server(uvicorn.Config(create_app(shelf), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        ids = shelf.runs.ids_with_prefix("", 100)

        def ask(number: int) -> tuple[str, str]:
            run_id = ids[number % len(ids)]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/runs/{run_id}", timeout=10) as response:
                return run_id, json.load(response)["id"]

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(200)))
    finally:
        server.should_exit = True
        thread.join()

    assert [asked for asked, answered in answers if asked != answered] == []
