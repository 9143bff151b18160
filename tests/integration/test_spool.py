"""Recording to a service that goes away: nothing that was recorded is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lineage.errors import Unavailable
from lineage.model.event import Noted, replay
from lineage.model.run import RunState
from lineage.ports import Ports, RunQuery
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import spool_of, wire
from service.app import create_app
from tests.support.serving import serving


class Service:
    """A service that can be taken away and brought back under the same address."""

    def __init__(self, folder: Path) -> None:
        self.ports = wire(Settings(str(folder), folder))
        self._stack = ExitStack()
        self.address = self._stack.enter_context(serving(create_app(self.ports)))

    def stop(self) -> None:
        self._stack.close()

    def start(self) -> None:
        port = int(self.address.rpartition(":")[2])
        self._stack.enter_context(serving(create_app(self.ports), port))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "team")
    yield made
    made.stop()
    made.ports.runs.close()


def client(service: Service, folder: Path) -> Ports:
    return wire(Settings(service.address, folder, patience_s=5.0))


def train(ports: Ports, repository: Path, points: int = 30) -> str:
    with start_run(ports, folder=repository, command=["python", "train.py"], config={"kind": "ended"}) as run:
        for number in range(points):
            run.log({"loss": 1.0 / (number + 1), "bad": float("nan")})
        model = repository / "model.bin"
        model.write_bytes(os.urandom(1000))
        run.log_artifact(model, kind="model")
    return run.id


def check(service: Service, run_id: str, points: int = 30) -> None:
    """The record is whole at the service, its chain holds, its file is there."""
    runs = service.ports.runs
    found = runs.get(run_id)
    assert replay(runs.events(run_id), run_id, runs.environment) == found
    assert found.state is RunState.finished
    assert [point.step for point in runs.metrics(run_id)] == list(range(points))
    assert runs.metrics_digest(run_id) == found.metrics_digest
    assert len(service.ports.objects.get_bytes(found.outputs[0].digest)) == 1000


def test_a_run_is_handed_over_while_it_goes_on_and_at_its_end(service: Service, tmp_path: Path, repository: Path) -> None:
    """The service knows a run that is going on; after the end it has everything, and the spool nothing."""
    ports = client(service, tmp_path / "a")
    with start_run(ports, folder=repository, command=["python", "train.py"]) as run:
        deadline = time.monotonic() + 20
        while not service.ports.runs.ids_with_prefix(run.id, 1) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.ports.runs.get(run.id).state is RunState.running
    run_id = train(ports, repository)
    ports.runs.close()

    check(service, run_id)
    assert service.ports.runs.get(run.id).state is RunState.finished
    again = client(service, tmp_path / "a")
    spool = spool_of(again)
    assert spool is not None
    assert spool.waiting() == []
    assert {item.id for item in again.runs.find(RunQuery())} == {run.id, run_id}
    assert again.runs.append(run_id, Noted(at=again.runs.get(run_id).started_at, note="later")).notes[-1] == "later"
    again.runs.close()


@pytest.mark.filterwarnings("ignore:lineage. kept on this machine")
def test_a_run_whose_service_is_away_goes_on_and_is_handed_over_later(service: Service, tmp_path: Path, repository: Path) -> None:
    """The service is away from before the start until after the end: the run does not wait for it; later it has all of it, once."""
    ports = client(service, tmp_path / "a")
    service.stop()
    begin = time.monotonic()
    run_id = train(ports, repository)
    ports.runs.close()
    assert time.monotonic() - begin < 10

    later = client(service, tmp_path / "a")
    spool = spool_of(later)
    assert spool is not None
    assert [item.outcome for item in spool.hand_over()] == ["failed"]
    with pytest.raises(Unavailable, match=service.address):
        later.runs.find(RunQuery())
    service.start()
    assert [item.outcome for item in spool.hand_over()] == ["sent"]
    check(service, run_id)
    assert spool.hand_over() == []
    check(service, run_id)
    later.runs.close()


def test_what_is_handed_over_twice_is_there_once(service: Service, tmp_path: Path, repository: Path) -> None:
    """An answer that was lost: everything is sent again, and nothing is new."""
    ports = client(service, tmp_path / "a")
    run_id = train(ports, repository)
    local = wire(Settings(str(tmp_path / "copy"), tmp_path / "copy"))
    spool = spool_of(ports)
    assert spool is not None
    events, points = ports.runs.events(run_id), ports.runs.metrics(run_id)
    named = service.ports.runs if not ports.runs.position(run_id).events else ports.runs
    texts = {item: named.environment_text(item) for item in _environments(events)}
    for _ in range(2):
        local.runs.extend(run_id, 0, events[:1], texts, again=True)
        local.runs.extend_metrics(run_id, 0, points, again=True)
        local.runs.extend(run_id, 0, events, texts, again=True)
    assert local.runs.extend(run_id, 0, events, texts) is None, "a first try at a place that is taken"
    assert local.runs.extend_metrics(run_id, 0, points) is None
    assert local.runs.events(run_id) == events
    assert len(local.runs.metrics(run_id)) == 30
    local.runs.close()
    ports.runs.close()


def _environments(events: list[tuple[str, str]]) -> list[str]:
    return [json.loads(events[0][0])["run"]["environment"]]


KILLED = """
import os, signal, sys, time
from pathlib import Path
import lineage
with lineage.start_run(project="p", job_type="train") as run:
    for number in range(20):
        run.log({"loss": float(number)})
    time.sleep(1)
    print(run.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_spool_of_a_killed_client_is_handed_over(service: Service, tmp_path: Path, repository: Path) -> None:
    """What a killed process recorded while the service was away comes with the next `lineage sync`, as aborted."""
    service.stop()
    variables = os.environ | {"LINEAGE_STORE": service.address, "LINEAGE_FOLDER": str(tmp_path / "a"), "LINEAGE_TOKEN": "secret-token"}
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED], cwd=repository, env=variables, capture_output=True, text=True, timeout=60
    )
    run_id = child.stdout.strip()
    assert run_id, child.stderr
    service.start()
    told = subprocess.run(
        [sys.executable, "-m", "lineage", "sync", "--json"], cwd=repository, env=variables, capture_output=True, text=True, timeout=60
    )

    assert told.returncode == 0, told.stderr
    assert [(item["run_id"], item["outcome"]) for item in json.loads(told.stdout)] == [(run_id, "sent")]
    assert service.ports.runs.get(run_id).state is RunState.aborted
    assert [point.step for point in service.ports.runs.metrics(run_id)] == list(range(20))
    for file in (tmp_path / "a").rglob("*"):
        assert not file.is_file() or b"secret-token" not in file.read_bytes()


@pytest.mark.filterwarnings("ignore:lineage. kept on this machine")
def test_a_record_that_went_another_way_at_the_service_is_a_named_conflict(service: Service, tmp_path: Path, repository: Path) -> None:
    """Somebody added to the run at the service: nothing there is changed, the record here stays, and the conflict names the run."""
    ports = client(service, tmp_path / "a")
    with start_run(ports, folder=repository, command=["python", "train.py"]) as run:
        spool = spool_of(ports)
        assert spool is not None
        spool.hand_over()
        service.ports.runs.append(run.id, Noted(at=run.record.started_at, note="from another side"))
    done = spool.hand_over()

    assert [(item.run_id, item.outcome) for item in done] == [(run.id, "conflict")]
    assert run.id[:12] in done[0].detail
    assert service.ports.runs.get(run.id).notes[-1:] == ("from another side",)
    assert ports.runs.get(run.id).state is RunState.finished
    ports.runs.close()


TRAIN = """
import lineage
with lineage.start_run(project="p", job_type="train", name="detector") as run:
    view = run.use_dataset("pictures", role="train")
    open("model.bin", "w").write("weights")
    run.log_artifact("model.bin", kind="model")
print(run.id)
"""


def test_a_colleague_finds_the_run_from_another_machine(service: Service, tmp_path: Path, repository: Path) -> None:
    """Trained in one folder, looked up from another that has neither the repository nor the data: by model, by picture, row by row."""
    pictures = repository / "pictures"
    pictures.mkdir()
    for number in range(4):
        (pictures / f"{number}.jpg").write_bytes(b"\xff\xd8" + bytes([number]) * 50)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LINEAGE_")} | {"LINEAGE_STORE": service.address}
    here = variables | {"LINEAGE_FOLDER": str(tmp_path / "a")}
    trained = subprocess.run([sys.executable, "-c", TRAIN], cwd=repository, env=here, capture_output=True, text=True, timeout=100)
    run_id = trained.stdout.strip()
    assert run_id, trained.stderr
    (tmp_path / "b").mkdir()
    weights, picture = tmp_path / "b" / "model.bin", tmp_path / "b" / "2.jpg"
    weights.write_text("weights")
    picture.write_bytes((pictures / "2.jpg").read_bytes())

    def ask(*words: str) -> str:
        there = variables | {"LINEAGE_FOLDER": str(tmp_path / "b" / "spool")}
        command = [sys.executable, "-m", "lineage", *words, "--json"]
        told = subprocess.run(command, cwd=tmp_path / "b", env=there, capture_output=True, text=True, timeout=100)
        assert told.returncode == 0, told.stderr
        return told.stdout

    assert [item["id"] for item in json.loads(ask("runs"))] == [run_id]
    assert run_id in ask("data", str(weights))
    assert "2.jpg" in ask("data", str(weights), "--rows")
    assert run_id in ask("models", "--image", str(picture))
    assert (tmp_path / "b" / "spool" / "objects").exists(), "what was read of the service is kept"
