"""What pages show side by side, sorted, in groups and as curves; and what they refuse."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lineage.lookup.spread import spread
from lineage.model.access import Scope, new_token
from lineage.model.event import Ended, Started
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import Ports
from lineage.ports.jobs import JobQuery, JobQueue
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import access_store, wire
from lineage.wiring_jobs import job_queue
from service import examples
from service.app import create_app
from service.pages import columns
from service.pages import runs as pages_of_runs

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
AS_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "store"), tmp_path / "store")


@pytest.fixture
def ports(settings: Settings) -> Iterator[Ports]:
    made = wire(settings)
    yield made
    made.runs.close()


@pytest.fixture
def jobs(settings: Settings, ports: Ports) -> Iterator[JobQueue]:
    queue = job_queue(settings)
    yield queue
    queue.close()


@pytest.fixture
def client(ports: Ports, jobs: JobQueue) -> TestClient:
    """A browser that follows no redirect by itself."""
    return TestClient(create_app(ports, jobs=jobs), base_url="http://127.0.0.1", headers=AS_BROWSER, follow_redirects=False)


@pytest.fixture
def add(ports: Ports) -> Callable[..., Run]:
    """Writes the record of a finished run."""
    added = 0

    def write(name: str, *, points: list[MetricPoint] | None = None, **facts: Any) -> Run:
        nonlocal added
        added += 1
        summary = facts.pop("summary", {})
        at = BEGAN + timedelta(hours=added)
        bare = {"state": RunState.running, "ended_at": None, "inputs": (), "outputs": (), "summary": {}, "reproductions": ()}
        run = examples.record().model_copy(update=bare | {"id": f"{added:032x}", "name": name, "started_at": at} | facts)
        ports.runs.append(run.id, Started(at=at, run=run))
        ports.runs.add_metrics(run.id, points or [])
        end = Ended(
            at=at + timedelta(minutes=added),
            state=RunState.finished,
            summary=summary,
            metrics_digest=ports.runs.metrics_digest(run.id) if points else None,
        )
        return ports.runs.append(run.id, end)

    return write


def shown(client: TestClient, path: str) -> list[str]:
    """Names of the runs on a page, from above."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return re.findall(r'<th scope="row"><a href="/runs/[0-9a-f]{32}">([^<]*)</a>', answer.text)


# --- the list ---------------------------------------------------------------------------------------------------------


def test_runs_without_a_value_come_last_in_both_directions(client: TestClient, add: Callable[..., Run]) -> None:
    """Numbers before texts, nothing last; a value that is no number sorts as nothing, never as an error."""
    values: list[Any] = [2, "ten", None, 0.5, True, {"deep": 1}, 10**400, -3]
    for value in values:
        add(repr(value), config={} if value is None else {"x": value}, summary={"m": value} if value is not None else {})

    up, down = (shown(client, f"/runs?sort=config:x&order={order}") for order in ("asc", "desc"))
    assert up[:3] == ["-3", "0.5", "2"]
    assert set(up[-2:]) == {"None", "{&#39;deep&#39;: 1}"}
    assert down[-2:] == up[-2:]
    assert [name for name in down if name in ("-3", "0.5", "2")] == ["2", "0.5", "-3"]
    assert shown(client, "/runs?sort=metric:m&order=asc")[:3] == ["-3", "0.5", "2"]


def test_a_sorted_list_goes_on_on_further_pages(client: TestClient, add: Callable[..., Run]) -> None:
    """Pages of a sorted list hold every run once, and keep filter, order and columns."""
    for number in range(7):
        add(f"run-{number}", project="a" if number else "b", summary={"loss": (number * 5) % 7})

    found: list[str] = []
    path: str | None = "/runs?project=a&sort=metric:loss&order=asc&limit=3&column=metric:loss"
    while path is not None:
        found += shown(client, path)
        following = re.search(r'<a href="([^"]*)" rel="next"', client.get(path).text)
        path = following[1].replace("&amp;", "&") if following else None
    assert found == ["run-3", "run-6", "run-2", "run-5", "run-1", "run-4"]


def test_the_newest_runs_are_sorted_and_the_page_says_when_there_are_more(
    client: TestClient, add: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gathered page by page, within the filter; those beyond the limit are not among them."""
    monkeypatch.setattr(pages_of_runs, "MOST", 3)
    monkeypatch.setattr(pages_of_runs, "MOST_SORTED", 7)
    for number in range(9):
        add(f"run-{number}", project="a" if number != 5 else "b", summary={"loss": number})

    assert shown(client, "/runs?sort=metric:loss&order=asc&project=a") == [f"run-{number}" for number in (1, 2, 3, 4, 6, 7, 8)]
    assert "these are the newest 7 of them" in client.get("/runs?sort=metric:loss&project=a").text
    assert "More runs fit" not in client.get("/runs?sort=metric:loss&project=b").text
    assert "these are the newest 7 of them" in client.get("/runs?by=project").text


def test_the_usual_columns_tell_runs_apart(ports: Ports, add: Callable[..., Run]) -> None:
    """Metrics of an evaluation are shown before others, those of the machine never; a kind that all share is left out."""
    summary = {"loss": 0.1, "epoch": 9, "timing/step_s": 3.0, "validation_AP": 0.4, "val/very_long_name": 1, "said": "words"}
    runs = [add(f"run-{number}", summary=summary) for number in range(2)]

    assert columns.usual(runs) == [
        "project",
        "state",
        "started",
        "took",
        "metric:validation_AP",
        "metric:val/very_long_name",
        "data",
        "reproduced",
    ]


@pytest.mark.parametrize(
    ("values", "mean", "deviation"),
    [([1.0, 2.0, 6.0], 3.0, math.sqrt(7)), ([4.0], 4.0, None), ([1.7e308, 1.7e308], 1.7e308, 0.0), ([1e-320, 3e-320], 2e-320, None)],
)
def test_the_spread_of_any_values(values: list[float], mean: float, deviation: float | None) -> None:
    """Mean and deviation of the sample stay finite however large the values are."""
    found = spread(values)

    assert found is not None
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high, found.count) == (min(values), max(values), len(values))
    if deviation is not None:
        assert found.deviation == pytest.approx(deviation)
    assert spread([]) is None


@pytest.mark.parametrize(
    "query",
    ["sort=nothing", "column=metric:", "order=up", "start=-1", "by=a&by=b&by=c&by=d", "text=%25", "limit=0", "column=x" + "&column=y" * 30],
)
def test_a_layout_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    """One page that names the parameter, with status 422."""
    answer = client.get(f"/runs?{query}")

    assert answer.status_code == 422
    assert "A parameter is not as expected" in answer.text
    assert query.partition("=")[0] in answer.text


# --- curves -----------------------------------------------------------------------------------------------------------


def test_points_of_curves_are_ordered_thinned_and_finite(client: TestClient, add: Callable[..., Run]) -> None:
    """Steps in order whatever order they were logged in; no number that JSON lacks; a peak survives thinning."""
    at = (BEGAN + timedelta(hours=1)).timestamp()
    points = [MetricPoint(step=step, values={"loss": 1.0 if step != 4321 else 99.0}, at=at + step) for step in reversed(range(9_000))]
    points += [MetricPoint(step=9_000 + i, values={"odd": value}, at=at) for i, value in enumerate((1.0, math.nan, math.inf, 2.0, 1e305))]
    points += [MetricPoint(step=step, values={"holes": math.nan if step % 2 else 3.0}, at=at) for step in range(4_000)]
    run = add("run", points=points)

    series = {item["name"]: item for item in client.get(f"/runs/{run.id}/curves").json()["metrics"]}
    assert series["loss"]["x"] == sorted(series["loss"]["x"])
    assert series["loss"]["is_thinned"]
    assert len(series["loss"]["x"]) <= 1_500
    assert 99.0 in series["loss"]["y"]
    assert [value for value in series["odd"]["y"] if value is not None] == [1.0, 2.0]
    assert len(series["holes"]["x"]) <= 1_500
    assert set(series["holes"]["y"]) == {3.0}
    part = client.get(f"/runs/{run.id}/curves?metric=loss&from=4000&to=4100").json()["metrics"]
    assert [item["name"] for item in part] == ["loss"]
    assert part[0]["x"] == list(range(4000, 4101))
    assert client.get(f"/runs/{run.id}/curves?x=time&metric=odd").json()["metrics"][0]["x"][0] == 0.0
    assert client.get(f"/runs/{run.id}/curves?from=nan").status_code == 422


def test_curves_are_sent_again_only_when_there_is_more(client: TestClient, ports: Ports) -> None:
    """The answer stays the same, and is empty, until a point or the end comes; another question has another answer."""
    bare = {"state": RunState.running, "ended_at": None, "inputs": (), "outputs": (), "summary": {}, "reproductions": ()}
    run = examples.record().model_copy(update=bare | {"started_at": BEGAN, "metrics_digest": None})
    ports.runs.append(run.id, Started(at=BEGAN, run=run))
    at = BEGAN.timestamp()
    points = [MetricPoint(step=step, values={"loss": 1.0 / (1 + step), "timing/s": 2.0}, at=at) for step in range(3)]
    ports.runs.add_metrics(run.id, points)
    address = f"/runs/{run.id}/curves?x=step"
    first = client.get(address)
    known = {"If-None-Match": first.headers["etag"]}
    assert first.json()["state"] == "running"
    assert [(item["name"], item["is_aside"]) for item in first.json()["metrics"]] == [("loss", False), ("timing/s", True)]
    assert first.json()["metrics"][0]["said"].startswith("3 values, first 1, last 0.333333,")
    again = client.get(address, headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get(f"/runs/{run.id}/curves?x=time", headers=known).status_code == 200

    ports.runs.add_metrics(run.id, [MetricPoint(step=3, values={"loss": 0.1}, at=at)])
    more = client.get(address, headers=known)
    assert more.json()["metrics"][0]["x"] == [0, 1, 2, 3]
    end = Ended(at=BEGAN + timedelta(hours=2), state=RunState.finished, metrics_digest=ports.runs.metrics_digest(run.id))
    ports.runs.append(run.id, end)
    assert client.get(address, headers={"If-None-Match": more.headers["etag"]}).json()["state"] == "finished"


# --- comparison -------------------------------------------------------------------------------------------------------


def test_a_comparison_needs_two_runs_and_takes_six(client: TestClient, add: Callable[..., Run]) -> None:
    """One run alone gets the form; the same run named twice is one; a seventh is refused."""
    ids = [add(f"run-{number}").id for number in range(7)]

    assert "Name two runs" in client.get(f"/compare?run={ids[0]}&run=").text
    assert "Name two runs" in client.get(f"/compare?run={ids[0]}&run={ids[0]}").text
    assert "Comparison of 6 runs" in client.get("/compare?" + "&".join(f"run={item}" for item in ids[:6])).text
    refused = client.get("/compare?" + "&".join(f"run={item}" for item in ids))
    assert (refused.status_code, "at most 6" in refused.text) == (400, True)
    assert client.get(f"/compare?run={ids[0]}&run={'f' * 32}").status_code == 404


def test_a_comparison_marks_what_differs_and_folds_what_does_not(client: TestClient, add: Callable[..., Run]) -> None:
    """A value that only one run has differs, too."""
    first = add("first", config={"same": 1, "rate": 0.1, "only": "here"}, seed=7)
    second = add("second", config={"same": 1, "rate": 0.2}, seed=7)

    text = client.get(f"/compare?run={first.id}&run={second.id}").text
    part = text[text.index("<h2>Configuration</h2>") : text.index("<h2>Code</h2>")]
    marked, folded = part.split("<details>")
    assert re.findall(r'<th scope="row">([^<]*)</th>', marked) == ["config.only", "config.rate"]
    assert re.findall(r'class="differs">([^<]*)<', marked) == ["–", "0.2"]
    assert "<dt>config.same</dt>" in folded


# --- patches ----------------------------------------------------------------------------------------------------------


def test_what_was_not_committed_is_shown_as_a_patch(ports: Ports, client: TestClient, repository: Path) -> None:
    """Changed, new and deleted files, and one that is no text; a clean run has none."""
    with start_run(ports, folder=repository, command=["python", "train.py"]) as clean:
        pass
    (repository / "train.py").write_text("print('trained better')\n")
    (repository / "README.md").unlink()
    (repository / "new.txt").write_text("no end of line")
    (repository / "data.bin").write_bytes(b"\0\1\2")
    with start_run(ports, folder=repository, command=["python", "train.py"]) as run:
        pass

    answer = client.get(f"/runs/{run.id}/patch")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    for expected in (
        "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-print('trained')\n+print('trained better')\n",
        "--- a/README.md\n+++ /dev/null\n",
        "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+no end of line\n\\ No newline at end of file\n",
        "Files /dev/null and b/data.bin differ",
    ):
        assert expected in answer.text
    assert f"/runs/{run.id}/patch" in client.get(f"/runs/{run.id}").text
    assert client.get(f"/runs/{clean.id}/patch").status_code == 404
    closed = TestClient(create_app(ports, need_tokens=True), base_url="http://127.0.0.1", headers=AS_BROWSER)
    assert f"/runs/{run.id}/patch" not in closed.get(f"/runs/{run.id}").text
    assert closed.get(f"/runs/{run.id}/patch").status_code == 404


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_form_asks_for_a_job_once(client: TestClient, jobs: JobQueue, add: Callable[..., Run]) -> None:
    """The button leads to the job's page; the same form sent again is the same job; what cannot be asked for is a page with 422."""
    run = add("run")
    form = {"what": "data", "format": "yolo", "environment": "auto", "key": "k1"}

    first, again = (client.post(f"/runs/{run.id}/materialisations", data=form) for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (303, again.headers["location"])
    queued = jobs.find(JobQuery(run_id=run.id)).jobs
    assert [(job.what, job.options.format) for job in queued] == [("data", "yolo")]
    page = client.get(first.headers["location"])
    assert page.status_code == 200
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page.text
    assert first.headers["location"] in client.get(f"/runs/{run.id}").text
    assert first.headers["location"] in client.get(f"/materialisations?run={run.id[:31]}").text
    assert client.post(f"/runs/{run.id}/materialisations", data={"what": "everything"}).status_code == 422
    assert client.post(f"/runs/{run.id}/materialisations", data={"what": "data", "format": "zip"}).status_code == 422
    assert client.post(f"/runs/{run.id}/materialisations", content=b"\xff=1").status_code == 400
    assert client.get("/materialisations/" + "f" * 32).status_code == 404


def test_forms_of_other_sites_are_refused(client: TestClient, jobs: JobQueue, add: Callable[..., Run]) -> None:
    """A browser says where a form comes from; nothing is queued for another site's, with or without the newer header."""
    run = add("run")
    for headers in ({"Origin": "http://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.post(f"/runs/{run.id}/materialisations", data={"what": "data"}, headers=headers)
        assert answer.status_code == 403, headers
    own = client.post(f"/runs/{run.id}/materialisations", data={"what": "data"}, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 303
    assert len(jobs.find(JobQuery()).jobs) == 1


def test_who_may_not_execute_sees_no_button_and_gets_no_job(
    settings: Settings, ports: Ports, jobs: JobQueue, add: Callable[..., Run]
) -> None:
    """With a token of another scope the forms are not there, and sending them anyway is refused."""
    run = add("run")
    tokens = access_store(settings)
    made = {}
    for scope in (Scope.record, Scope.execute):
        text, token = new_token(scope.value, frozenset({scope}), datetime.now(UTC), None)
        tokens.add_token(token)
        made[scope] = TestClient(
            create_app(ports, jobs=jobs, tokens=tokens, need_tokens=True),
            base_url="http://127.0.0.1",
            headers=AS_BROWSER | {"Authorization": f"Bearer {text}"},
            follow_redirects=False,
        )

    statuses = {}
    for scope, client in made.items():
        has_button = "Run it again and compare" in client.get(f"/runs/{run.id}").text
        statuses[scope] = (has_button, client.post(f"/runs/{run.id}/materialisations", data={"what": "rerun"}).status_code)
    tokens.close()
    assert statuses == {Scope.record: (False, 403), Scope.execute: (True, 303)}
