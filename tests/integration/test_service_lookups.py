"""What the command line can look up is answered over HTTP as well, from records that the real layer made."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deeplake
import numpy as np
import pytest
from deeplake import types
from fastapi.testclient import TestClient
from PIL import Image

from lineage.model.event import Ended, Started, StepsLogged
from lineage.model.run import Run, RunState
from lineage.model.steps import StepLogRecord, StepRecord, StepRows
from lineage.ports import Ports
from lineage.record.start import start_run
from lineage.record.step_log import StepLogHeader, header_line, packed, read_log
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app

SPOILT_AT = 3
SCHEMA = {"sample_id": types.Text(), "images": types.Image(sample_compression="png"), "width": types.Int32()}


@dataclass(frozen=True)
class Site:
    """A store with three runs: two trainings of one group on a view, the second with another seed, and an evaluation of the rest."""

    ports: Ports
    client: TestClient
    uri: str
    runs: tuple[Run, ...]

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ids(self, **filters: Any) -> list[int]:
        known = {run.id: number for number, run in enumerate(self.runs)}
        return [known[item["id"]] for item in self.get("runs", **filters)["items"]]

    def command(self, *words: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "lineage", *words, "--json"], cwd=self.ports.folder.parent, capture_output=True, text=True, timeout=60
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


def step_log(spoilt: bool) -> bytes:
    content, head = header_line(StepLogHeader()), read_log(header_line(StepLogHeader()), "new").head
    chain = bytes.fromhex(head)
    for step in range(-1, 6):
        loss = b"f" + struct.pack("<f", 2.0 + (step >= SPOILT_AT and spoilt))
        rows = (StepRows(ordinal=0, epoch=0, positions=(step % 4,)),) if step >= 0 else ()
        line, chain = packed(StepRecord(step, rows, losses=(loss,) if step >= 0 else (), parameters=bytes(16)), chain)
        content += line
    return content


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    uri = f"file://{folder}/pictures"
    dataset = deeplake.create(uri, schema=SCHEMA)
    pictures = []
    for number in range(6):
        encoded = io.BytesIO()
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(encoded, "PNG")
        pictures.append(encoded.getvalue())
    dataset.append({"sample_id": [f"p{i}" for i in range(6)], "images": pictures, "width": [*range(6)]})
    dataset.commit("made")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    ports = wire(Settings(str(folder / ".lineage"), folder / ".lineage"))
    ports.datasets().save_view(uri, "select * where width > 1", "wide", "for the test")
    ids = []
    for number in range(3):
        weights = folder / f"model-{number}.pth"
        weights.write_bytes(b"weights %d" % number)
        group, config = None if number == 2 else "wide", {"lr": [0.1, 0.1, 0.2][number]}
        options: dict[str, Any] = {"project": "parking", "group": group, "seed": number, "config": config}
        with start_run(ports, folder=folder, command=["python", "train.py"], job_type="train", **options) as run:
            run.use_dataset(uri, view=None if number == 2 else "wide", role="test" if number == 2 else "train")
            run.log({"loss": [1.0, 3.0, 7.0][number]})
            run.log_artifact(weights, kind="model")
            if number < 2:
                content = step_log(spoilt=number == 1)
                log = StepLogRecord(rank=0, steps=6, every=1, head=read_log(content, "made").head, object=ports.objects.put_bytes(content))
                ports.runs.append(run.id, StepsLogged(at=datetime.now(UTC), log=log))
        ids.append(run.id)
    with TestClient(create_app(ports), base_url="http://127.0.0.1") as client:
        yield Site(ports, client, uri, tuple(ports.runs.get(run_id) for run_id in ids))
    ports.runs.close()


def test_filters_find_the_same_over_http_as_on_the_command_line(site: Site) -> None:
    """By code, package, view, sample (id or picture), time and word; every one of several must hold; numbers are the runs, newest first."""
    run = site.runs[0]
    assert run.code is not None
    picture = next(iter(site.get(f"runs/{run.id}/data", rows=True)["items"]))
    expected: list[tuple[dict[str, str], list[int]]] = [
        ({"code": run.code.tree_sha[:12]}, [0]),  # each run's weights are one more file in the next one's tree
        ({"code": run.code.snapshot_sha, "sample": "p0"}, []),
        ({"package": "NumPy"}, [2, 1, 0]),
        ({"package": f"numpy=={np.__version__}", "view": "wide"}, [1, 0]),
        ({"package": "numpy==0.0.1"}, []),
        ({"view": run.inputs[0].view_id or ""}, [1, 0]),
        ({"sample": "p0"}, [2]),
        ({"sample": picture["sample_id"]}, [2, 1, 0]),
        ({"sample": picture["picture_digest"], "dataset": site.uri, "view": "wide"}, [1, 0]),
        ({"sample": "nobody's"}, []),
        ({"sample": "sha256:" + "0" * 64}, []),
        ({"text": site.runs[1].name}, [1]),
        ({"since": site.runs[1].started_at.isoformat()}, [2, 1]),
        ({"since": site.runs[1].started_at.isoformat(), "until": site.runs[2].started_at.isoformat()}, [1]),
        ({"artifact": site.runs[1].outputs[0].digest, "commit": run.inputs[0].commit_id}, [1]),
    ]

    for filters, numbers in expected:
        assert site.ids(**filters) == numbers, filters
    for filters in (
        {"sample": picture["picture_digest"], "dataset": site.uri, "view": "wide"},
        {"package": "numpy", "text": site.runs[1].name},
    ):
        told = site.command("runs", *(word for name, value in filters.items() for word in (f"--{name}", value)))
        assert [item["id"] for item in told] == [site.runs[number].id for number in site.ids(**filters)] != []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("runs?code=main", 400, "usage"),
        ("runs?code=ab", 400, "usage"),
        ("runs?package=torch%3E%3D2", 400, "usage"),
        ("runs?package=", 400, "usage"),
        ("runs?project=a%00b", 422, "invalid_request"),
        ("runs?dataset=%2Fa%00", 422, "invalid_request"),
        ("runs?sample=%00", 422, "invalid_request"),
        ("runs?text=two%20words", 422, "invalid_request"),
        ("runs?since=2026-03-14T00:00:00", 422, "invalid_request"),
        ("runs?since=0001-01-01T00:00:00%2B14:00", 400, "usage"),
        ("datasets/a%00b/versions/c/runs", 422, "invalid_request"),
        ("groups?by=duration", 400, "usage"),
        ("groups?by=config:", 400, "usage"),
        ("impact", 400, "usage"),
        ("impact?sample=a&image=sha256:" + "0" * 64, 400, "usage"),
        ("impact?sample=nobody", 404, "not_found"),
        ("models", 422, "invalid_request"),
        ("models?dataset=relative/path", 400, "usage"),
    ],
)
def test_bad_conditions_are_problem_documents(site: Site, path: str, status: int, code: str) -> None:
    """Each names its kind; none is a failure of the service."""
    answer = site.client.get(f"/api/v1/{path}")

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_a_cursor_belongs_to_its_filters(site: Site) -> None:
    """With other filters it would lead somewhere in another list: it is refused. The size of a page may change."""
    cursor = site.get("runs", limit=1, job_type="train")["next_cursor"]

    assert site.ids(limit=2, job_type="train", cursor=cursor) == [1, 0]
    for filters in ({}, {"job_type": "train", "group": "wide"}):
        refused = site.client.get("/api/v1/runs", params=filters | {"cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (400, "usage")
        assert "other filters" in refused.json()["detail"]


def test_every_list_and_look_up_can_be_asked_for_again(site: Site) -> None:
    """With the ETag of the answer before, an unchanged answer is 304 without a body."""
    run = site.runs[0].id
    for path in (
        "runs",
        f"runs/{run}",
        f"runs/{run}/steps",
        f"runs/{run}/data",
        f"runs/{run}/metrics",
        f"runs/{run}/leaks",
        "groups",
        f"models?dataset={site.uri}",
        "impact?sample=p3",
        f"diff?a={run}&b={site.runs[1].id}",
        f"diff/steps?a={run}&b={site.runs[1].id}",
        "samples?id=p3",
    ):
        tag = site.client.get(f"/api/v1/{path}").headers["etag"]
        again = site.client.get(f"/api/v1/{path}", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b""), path


def test_steps_are_what_the_command_line_shows(site: Site) -> None:
    """A page at a time, chosen by number; and where two trainings part, with the rows of that step."""
    run, other = site.runs[0].id, site.runs[1].id
    whole = site.command("steps", run)
    pages = [site.get(f"runs/{run}/steps", limit=4), site.get(f"runs/{run}/steps", limit=4, cursor="4")]

    assert [page["next_cursor"] for page in pages] == ["4", None]
    assert [record for page in pages for record in page["records"]] == whole["records"]
    assert {name: pages[0][name] for name in whole if name != "records"} == {name: whole[name] for name in whole if name != "records"}
    assert [record["rows"][0]["sample_ids"] for record in pages[0]["records"][1:]] == [["p2"], ["p3"], ["p4"]]
    assert [item["step"] for item in site.get(f"runs/{run}/steps", **{"from": 2, "to": 3})["records"]] == [2, 3]
    assert (pages[0]["records"][1]["losses"], pages[0]["records"][0]["parameters"]) == ([2.0], "00" * 16)
    parted = site.get("diff/steps", a=run, b=other)
    assert parted == {name: value for name, value in site.command("steps", run, other).items() if name != "is_same"}
    assert (parted["first"]["step"], parted["first"]["phase"], parted["first"]["rows_a"][0]["sample_ids"]) == (SPOILT_AT, "loss", ["p5"])
    assert site.client.get(f"/api/v1/runs/{site.runs[2].id}/steps").status_code == 404


def test_groups_tell_the_spread_of_metrics(site: Site) -> None:
    """Mean, deviation of the sample, least and greatest of the last values; one value has no deviation. By facts and by configuration."""
    wide, alone = site.get("groups")["groups"]

    assert (wide["values"], wide["runs"], wide["run_ids"]) == (["wide"], 2, [site.runs[1].id, site.runs[0].id])
    assert [item for item in wide["metrics"] if item["metric"] == "loss"] == [
        {"metric": "loss", "count": 2, "mean": 2.0, "std": pytest.approx(2**0.5), "min": 1.0, "max": 3.0}
    ]
    assert [(item["mean"], item["std"]) for item in alone["metrics"] if item["metric"] == "loss"] == [(7.0, None)]
    by_rate = site.get("groups", by="config:lr", metric="loss", group="wide")
    assert (by_rate["runs"], by_rate["is_whole"], [part["values"] for part in by_rate["groups"]]) == (2, True, [[0.1]])


def test_models_of_a_dataset_and_what_a_sample_went_into(site: Site) -> None:
    """As the command line tells it, but that no dataset is opened: a plan over HTTP names no query."""
    models = site.get("models", dataset=site.uri, view="wide")["models"]
    assert [item["digest"] for item in models] == [site.runs[number].outputs[0].digest for number in (1, 0)]
    assert [item["model"]["digest"] for item in site.command("models", site.uri, "--view", "wide")] == [item["digest"] for item in models]

    told, known = site.get("impact", sample="p3"), site.command("impact", "--sample", "p3")
    assert {name: told[name] for name in ("subject", "rows", "runs", "models")} == {
        name: known[name] for name in ("subject", "rows", "runs", "models")
    }
    assert [view["query"] for view in known["plan"]["views"] if view["query"]] != []
    assert [view["query"] for view in told["plan"]["views"]] == [None] * len(known["plan"]["views"])
    assert "the service opens no dataset" in told["plan"]["views"][0]["reason"]


def test_a_record_from_a_clock_that_is_wrong_is_listed(tmp_path: Path) -> None:
    """A machine whose clock is years ahead, or that ends before it began, is shown with its own times and breaks no list."""
    far = datetime.now(UTC) + timedelta(days=9_000)
    ports = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    facts = {"name": "<b>\x00\u202e", "project": "parking", "job_type": "train", "started_at": far}
    ports.runs.append("f" * 32, Started(at=far, run=Run(id="f" * 32, **facts)))
    ports.runs.append("f" * 32, Ended(at=far - timedelta(days=18_000), state=RunState.failed))
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")

    item = client.get("/api/v1/runs", params={"since": far.isoformat()}).json()["items"][0]
    assert (item["name"], item["state"]) == ("<b>\x00\u202e", "failed")
    assert item["duration_s"] == pytest.approx(-18_000 * 86_400)
    page = client.get("/runs", params={"since": far.isoformat()})
    assert page.status_code == 200
    assert "<b>\x00" not in page.text
    ports.runs.close()
