"""Numbers in TensorBoard's event files: of past runs, and of commands that `lineage run` starts."""

from __future__ import annotations

import json
import math
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from lineage.adapters.trackers.tensorboard_events import read_events
from lineage.adapters.trackers.tensorboard_past import TensorboardPastRuns
from lineage.errors import InvalidSource, NotFound
from lineage.model.run import RunState
from lineage.ports import Ports
from lineage.record.imported import take_over
from lineage.wiring import wire

PATIENCE_S = 120
NAME = "events.out.tfevents.1795261615.host.1.0"

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:tensorboard")


def record(event: Event) -> bytes:
    """A whole record of a file: length, its checksum, the event, its checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def scalar(tag: str, value: float, step: int, at: float) -> bytes:
    return record(Event(wall_time=at, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))


def written(file: Path, *records: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join((record(Event(wall_time=100.0, file_version="brain.Event:2")), *records)))
    return file


def test_every_number_keeps_step_time_and_value(tmp_path: Path) -> None:
    values = [0.5, math.nan, math.inf, -math.inf, 0.0]
    file = written(tmp_path / NAME, *(scalar("loss", value, step * 10, 100.0 + step) for step, value in enumerate(values)))
    points = read_events(file).points
    assert [(point.step, point.at) for point in points] == [(step * 10, 100.0 + step) for step in range(5)]
    assert [repr(point.values["loss"]) for point in points] == [repr(value) for value in values]


def test_no_value_is_sampled_away(tmp_path: Path) -> None:
    file = written(tmp_path / NAME, *(scalar("loss", float(step), step, 100.0 + step) for step in range(12_000)))
    assert [point.values["loss"] for point in read_events(file).points] == [float(step) for step in range(12_000)]


def test_numbers_as_newer_writers_store_them_are_read(tmp_path: Path) -> None:
    metadata = create_summary_metadata(display_name="", description="")
    first = Summary.Value(tag="acc", tensor=make_tensor_proto(0.25), metadata=metadata)
    later = Summary.Value(tag="acc", tensor=make_tensor_proto(0.75))  # only the first of a tag says what it is
    file = written(
        tmp_path / NAME,
        *(record(Event(wall_time=101.0 + step, step=step, summary=Summary(value=[value]))) for step, value in enumerate((first, later))),
    )
    assert [point.values for point in read_events(file).points] == [{"acc": 0.25}, {"acc": 0.75}]


def test_values_of_one_step_and_moment_are_one_point(tmp_path: Path) -> None:
    records = [scalar("loss", 1.0, 3, 105.0), scalar("acc", 0.5, 3, 105.0), scalar("loss", 2.0, 3, 105.0)]
    points = read_events(written(tmp_path / NAME, *records)).points
    assert [point.values for point in points] == [{"loss": 1.0, "acc": 0.5}, {"loss": 2.0}]


@pytest.mark.parametrize("cut", [1, 5, 11, 13, 30])
def test_a_torn_file_is_read_up_to_its_last_whole_record(tmp_path: Path, cut: int) -> None:
    records = [scalar("loss", float(step), step, 100.0 + step) for step in range(5)]
    file = written(tmp_path / NAME, *records)
    file.write_bytes(file.read_bytes()[:-cut])
    log = read_events(file)
    assert [point.values["loss"] for point in log.points] == [0.0, 1.0, 2.0, 3.0]
    assert log.torn is not None
    assert log.torn.startswith("after 5 whole records")


def test_a_flipped_bit_ends_the_reading_and_is_told(tmp_path: Path) -> None:
    records = [scalar("loss", float(step), step, 100.0 + step) for step in range(5)]
    file = written(tmp_path / NAME, *records)
    content = bytearray(file.read_bytes())
    content[-len(records[-1]) - 8] ^= 1
    file.write_bytes(content)
    log = read_events(file)
    assert len(log.points) == 3
    assert log.torn is not None
    assert "crc32" in log.torn


def test_a_folder_is_a_run_for_each_folder_with_files(tmp_path: Path, ports: Ports) -> None:
    written(tmp_path / "logs" / "a" / NAME, scalar("loss", 1.0, 0, 101.0))
    written(tmp_path / "logs" / "b" / "deep" / NAME.replace("1795261615", "1795261616"), scalar("loss", 2.0, 0, 102.0))
    reader = TensorboardPastRuns()
    runs = {run.name: take_over(ports, run)[0] for run in map(reader.read, reader.places(str(tmp_path / "logs")))}
    assert set(runs) == {"a", "b/deep"}
    assert {run.project for run in runs.values()} == {"logs"}
    run = runs["a"]
    assert (run.started_at.timestamp(), run.ended_at and run.ended_at.timestamp()) == (100.0, 101.0)
    assert run.imported is not None
    assert any("code" in text for text in run.imported.missing)
    assert [point.values for point in ports.runs.metrics(run.id)] == [{"loss": 1.0}]
    assert any("do not say how the run ended" in note for note in run.notes)
    assert ports.objects.get_bytes(run.outputs[0].digest) == (tmp_path / "logs" / "a" / NAME).read_bytes()


def test_a_copy_elsewhere_is_the_same_run(tmp_path: Path, ports: Ports) -> None:
    for place in ("here", "there"):
        written(tmp_path / place / "a" / NAME, scalar("loss", 1.0, 0, 101.0))
    reader = TensorboardPastRuns()
    first, again = (take_over(ports, reader.read(reader.places(str(tmp_path / place))[0])) for place in ("here", "there"))
    assert (first[1], again[1]) == (True, False)
    assert first[0].id == again[0].id


def test_what_is_no_event_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(NotFound, match="no file there has 'tfevents' in its name"):
        TensorboardPastRuns().places(str(tmp_path / "logs"))
    with pytest.raises(NotFound):
        TensorboardPastRuns().places(str(tmp_path / "nowhere"))
    (tmp_path / "logs" / NAME).write_bytes(b"something else entirely")
    with pytest.raises(InvalidSource, match="expected records of TensorBoard events, found none"):
        read_events(tmp_path / "logs" / NAME)


def test_pytorchs_writer_is_read_with_its_hyperparameters(tmp_path: Path, ports: Ports) -> None:
    program = (
        "from torch.utils.tensorboard import SummaryWriter\n"
        "with SummaryWriter('logs/x') as writer:\n"
        "    for step in range(3):\n"
        "        writer.add_scalar('loss/train', 1 / (step + 1), step)\n"
        "    writer.add_text('note', 'hello')\n"
        "    writer.add_hparams({'lr': 0.1, 'layers': 3, 'name': 'small', 'wide': True}, {'best': 0.5}, run_name='.')\n"
    )
    subprocess.run(["python", "-W", "ignore", "-c", program], cwd=tmp_path, check=True, timeout=PATIENCE_S)
    done = lineage(tmp_path, "import", "tensorboard", "logs", "--json")
    (told,) = json.loads(done.stdout)
    run = ports.runs.get(told["run_id"])
    assert run.config == {"lr": 0.1, "layers": 3, "name": "small", "wide": True}
    points = [point for point in ports.runs.metrics(run.id) if "loss/train" in point.values]
    assert [(point.step, struct.pack("<f", point.values["loss/train"])) for point in points] == [
        (step, struct.pack("<f", 1 / (step + 1))) for step in range(3)
    ]
    assert run.state is RunState.finished
    assert any("1 text" in note for note in run.notes)


def lineage(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["lineage", *words], cwd=place, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_command_that_writes_event_files_has_their_numbers_as_metrics(repository: Path) -> None:
    content = written(
        repository / "made.bin", scalar("loss", 1.0, 0, 101.0), scalar("acc", 0.25, 0, 101.0), scalar("loss", 0.5, 1, 102.0)
    ).read_bytes()
    (repository / "made.bin").unlink()
    (repository / "log.py").write_text(
        f"import pathlib\npathlib.Path('logs').mkdir()\nwith open('logs/{NAME}', 'wb') as file:\n    file.write({content!r})\n"
    )
    done = lineage(repository, "run", "--json", "--", "python", "log.py")
    run: dict[str, Any] = json.loads(done.stdout)
    kept = wire_at(repository)
    try:
        points = kept.runs.metrics(run["id"])
    finally:
        kept.runs.close()
    assert [(point.step, point.values) for point in points] == [(0, {"loss": 1.0, "acc": 0.25}), (1, {"loss": 0.5})]
    assert run["metrics_digest"] is not None


def wire_at(repository: Path) -> Ports:
    from lineage.settings import Settings

    return wire(Settings(str(repository / ".lineage"), repository / ".lineage"))
