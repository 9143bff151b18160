"""Sweeps as people see them: from records alone, in the terminal, as a file, over HTTP and from Python."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import lineage
from lineage.adapters.stores.http_client import HttpClient
from lineage.adapters.stores.http_rows import SpoolingRowIndex
from lineage.adapters.stores.memory import MemoryDatabase
from lineage.adapters.stores.row_index import SqlRowIndex
from lineage.errors import NotFound, UsageError
from lineage.lookup.sweeps import list_sweeps, sweep_named, sweep_of, sweep_or_group
from lineage.model.sweep import SweepTrial
from lineage.ports import Ports
from service.app import create_app
from tests.support.commands import looked, looked_up
from tests.support.serving import serving
from tests.support.sweeps import AT, DEFINITION, accuracy, proposed, write_run, write_sweep, write_trial

SWEEP = "k3x9a2mf"


def browse(ports: Ports) -> TestClient:
    return TestClient(create_app(ports), base_url="http://127.0.0.1", raise_server_exceptions=False)


def trial(number: int, attempt: int = 1, **told: Any) -> SweepTrial:
    given = {"metric": "val_accuracy", "goal": "maximize", "definition": "sha256:" + "0" * 64} | told
    return SweepTrial(sweep=SWEEP, number=number, attempt=attempt, parameters={"x": number}, **given)


def test_the_attempt_that_ended_well_counts(ports: Ports) -> None:
    """Of each number exactly one: the one that finished, else the one that goes on, else the last; repetitions are no trials."""
    write_trial(ports, trial(0, 1), value=0.9, state="failed")
    kept = write_trial(ports, trial(0, 2), value=0.5)
    failed = write_trial(ports, trial(0, 3), value=0.8, state="failed")
    write_trial(ports, trial(1, 1), value=0.1, state="failed")
    running = write_trial(ports, trial(1, 2), value=0.2, state="running")
    first, last = (write_trial(ports, trial(2, attempt), value=0.3, state="failed") for attempt in (1, 2))
    write_trial(ports, trial(0), value=0.99, reproduces=kept)
    stopped = write_trial(ports, trial(3), value=0.95, state="stopped")

    view = sweep_of(ports, SWEEP)
    assert [(item.number, item.run_id, item.state, item.value) for item in view.trials] == [
        (0, kept, "complete", 0.5),
        (1, running, "running", None),
        (2, last, "failed", None),
        (3, stopped, "stopped", 0.95),
    ]
    assert set(view.trials[0].attempts) >= {failed}
    assert view.trials[2].attempts == (first,)
    assert view.best == kept, "one that was stopped, and a repetition, are not the best"
    assert any("1 run that repeats trials is left out" in note for note in view.notes)
    assert any("definition cannot be read" in note for note in view.notes)

    (listed,) = list_sweeps(ports, 9)
    assert (listed.complete, listed.running, listed.failed, listed.stopped) == (1, 1, 1, 1)
    assert (listed.best_run, listed.best_value, listed.runs) == (kept, 0.5, 8)


def test_a_sweep_is_told_of_its_definition(ports: Ports) -> None:
    """Nested parameters with dots, in its order, what is drawn on a logarithmic scale, and what does not vary."""
    write_sweep(ports, SWEEP, 12)
    view = sweep_of(ports, SWEEP)
    names = ["learning_rate", "optimizer.name", "optimizer.momentum", "layers", "batch_size"]
    assert [item.name for item in view.parameters] == [*names, "epochs"]
    assert [item.name for item in view.varying] == names
    kinds = {item.name: (item.kind, item.scale) for item in view.parameters}
    assert kinds["learning_rate"] == ("number", "log")
    assert kinds["optimizer.name"] == ("category", "linear")
    assert kinds["optimizer.momentum"] == ("number", "linear")
    assert (view.name, view.method, view.metric, view.goal) == ("rates and optimizers", "random", "val_accuracy", "maximize")
    values = [accuracy(proposed(number), number) for number in range(12)]
    best = view.best_trial
    assert best is not None
    assert (best.number, best.value) == (values.index(max(values)), max(values))


def test_lists_of_sweeps_are_pages(ports: Ports) -> None:
    """Newest first and each once, here and through a service; ids by a prefix."""
    ids = [f"sweep{number:03}" for number in range(7)]
    for number, sweep_id in enumerate(ids):
        write_sweep(ports, sweep_id, 2, at=AT + timedelta(days=number % 3))
    whole = [item.sweep for item in list_sweeps(ports, 99)]
    assert sorted(whole) == ids
    assert [ids.index(name) % 3 for name in whole] == [2, 2, 1, 1, 0, 0, 0]
    with browse(ports) as client:
        found, cursor = [], None
        while True:
            page = client.get("/api/v1/sweeps", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
            found += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == whole
        assert client.get("/api/v1/sweeps", params={"cursor": "oops"}).json()["code"] == "usage"
    with serving(create_app(ports)) as address, HttpClientClosed(address) as client_of:
        rows = SpoolingRowIndex(SqlRowIndex(MemoryDatabase()), client_of)
        assert rows.sweeps(99) == ports.rows.sweeps(99)
        assert rows.sweeps(2, after=(list_sweeps(ports, 1)[0].began_at, whole[0])) == ports.rows.sweeps(3)[1:]
        assert [item.sweep for item in rows.sweeps(9, prefix="sweep003")] == ["sweep003"]
    assert sweep_named(ports, "sweep003") == "sweep003"
    with pytest.raises(UsageError, match="fits several"):
        sweep_named(ports, "sweep")
    for name in ("zzz", ""):
        with pytest.raises(NotFound):
            sweep_named(ports, name)


class HttpClientClosed(HttpClient):
    """A client that is closed at the end."""

    def __init__(self, address: str) -> None:
        super().__init__(address, patience_s=2)

    def __enter__(self) -> HttpClientClosed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_runs_that_were_made_by_hand_are_looked_at_alike(ports: Ports, tmp_path: Path) -> None:
    """Fields of the configuration that differ are the parameters; a metric is needed, and its name says what is better."""
    for number in range(24):
        config = {"rate": 0.001 * (number + 1), "net": {"depth": number % 3}, "same": 1} | ({"extra": "x"} if number % 2 else {})
        write_run(ports, "by hand", number, config, {"val_loss": 1 / (number + 1), "val_acc": "nan" if number == 4 else 0.01 * number})
    view = sweep_or_group(ports, "by hand", metric="val_loss")
    assert (view.is_sweep, view.goal, view.best_trial and view.best_trial.number) == (False, "minimize", 23)
    assert {item.name: item.missing for item in view.parameters} == {"rate": 0, "net.depth": 0, "extra": 12}
    assert sweep_or_group(ports, "by hand", metric="val_acc").trials[4].value == "nan"
    with pytest.raises(UsageError, match="says not what metric") as raised:
        sweep_or_group(ports, "by hand")
    assert "val_acc, val_loss" in (raised.value.hint or "")
    wrong = sweep_or_group(ports, "by hand", metric="val_los")
    assert "is 'val_loss' meant?" in wrong.notes[-1]
    with pytest.raises(NotFound):
        sweep_or_group(ports, "nobody's")

    report = lineage.importance("by hand", "val_loss")
    assert report.importance is not None
    assert report.importance.parameters[0].name == "rate"
    assert report.importance.trials == 24
    assert looked_up(tmp_path, "importance", "by hand", "--metric", "val_loss") == report.model_dump(mode="json")


def test_the_command(ports: Ports, tmp_path: Path) -> None:
    """What mattered, with bars and the best run; exit code 3 with the reason where it cannot be told; the file in both cases."""
    write_sweep(ports, SWEEP, 30, states={4: "failed"})
    write_sweep(ports, "few00000", 8)
    done = looked(tmp_path, "importance", SWEEP[:4])
    assert re.search(r"learning_rate +█{10,}", done.stdout)
    assert re.search(r"best trial \d+, run [0-9a-f]{12}: val_accuracy", done.stdout)
    assert "of 29 trials (not of 1 failed)" in done.stdout
    refused = looked(tmp_path, "importance", "few00000", status=3)
    assert "8 of 8 trials" in refused.stderr
    assert len(re.findall(r"^\d +[0-9a-f]{8} +complete ", refused.stdout, re.MULTILINE)) == 8
    refused = looked(tmp_path, "importance", "few00000", "--html", "few.html", status=3)
    assert "Not told: 8 of 8 trials" in (tmp_path / "few.html").read_text()
    assert "Traceback" not in refused.stderr
    assert looked_up(tmp_path, "importance", "few00000", status=3)["importance"] is None
    assert "expected --goal" in looked(tmp_path, "importance", SWEEP, "--goal", "up", status=2).stderr
    assert "cannot be written" in looked(tmp_path, "importance", "few00000", "--html", str(tmp_path), status=6).stderr


def test_the_service(ports: Ports) -> None:
    """The report, its tag, reasons in place of importance, and a page whose tag changes when a trial ends."""
    ids = write_sweep(ports, SWEEP, 24, states={23: "running"})
    with browse(ports) as client:
        answer = client.get(f"/api/v1/sweeps/{SWEEP}")
        assert answer.json()["sweep"] == sweep_of(ports, SWEEP).model_dump(mode="json")
        assert answer.json()["importance"]["parameters"][0]["name"] == "learning_rate"
        assert client.get(f"/api/v1/sweeps/{SWEEP}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        assert "not finite" not in json.dumps(answer.json())
        other = client.get(f"/api/v1/sweeps/{SWEEP}", params={"metric": "loss"}).json()
        assert other["importance"] is None
        assert "0 of 24 trials" in other["refused"]
        assert client.get("/api/v1/sweeps/zzzzzzzz").status_code == 404
        assert client.get("/api/v1/sweeps/UPPER").status_code == 422

        page = client.get(f"/sweeps/{SWEEP}")
        assert 'class="parallel"' in page.text
        assert f'href="/runs/{ids[0]}"' in page.text
        assert 'data-running="1"' in page.text
        told = {"If-None-Match": page.headers["ETag"]}
        assert client.get(f"/sweeps/{SWEEP}", headers=told).status_code == 304
        write_trial(ports, trial(24, definition=ports.objects.put_bytes(b"{}")), value=math.inf)
        again = client.get(f"/sweeps/{SWEEP}", headers=told)
        assert again.status_code == 200
        assert "no value" in again.text
        assert f"/sweeps/{SWEEP}" in client.get(f"/runs/{ids[7]}").text
        listed = client.get("/sweeps").text
        assert str(DEFINITION["name"]) in listed
        assert "1 running" in listed
