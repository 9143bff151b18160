"""Past W&B runs become records, from folders and from a server; and records are found by what W&B calls their runs."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.objects.folder import FolderObjectStore
from lineage.model.media import read_sheet
from tests.support.commands import command, lineage, looked_up

PAST = """
import math, os, sys
import numpy, wandb
settings = wandb.Settings(silent=True, root_dir=".")
config = {"lr": 0.1, "nested": {"a": [1, 2]}, "api_key": "hunter22-very-secret", "input_datasets": [{"Dataset": "s3://bucket/cars"}]}
run = wandb.init(project="theirs", group="g", job_type="train", name="past", tags=["t"], config=config, settings=settings)
data = wandb.Artifact("cars", "dataset")
with data.new_file("rows.txt") as stream:
    stream.write("rows")
run._log_artifact(data, aliases=["a"], is_user_created=True, use_after_commit=True)
for step in range(int(sys.argv[1])):
    run.log({"loss": 1 / (step + 1), "deep": {"x": step}})
shown = wandb.Image(numpy.zeros((3, 4, 3), numpy.uint8), caption="a car")
run.log({"loss": math.nan, "histogram": wandb.Histogram([1, 2]), "shown": shown, "page": wandb.Html("page")})
run.config.update({"later": True})
model = wandb.Artifact("net", "model")
with model.new_file("net.pth") as stream:
    stream.write("weights")
run.log_artifact(model)
run.finish(exit_code=int(sys.argv[2]))
print(run.id)
"""


def past(folder: Path, *, points: int = 5, exit_code: int = 0, **variables: str) -> str:
    """A W&B run that this layer never saw; returns its id there."""
    (folder / "past.py").write_text(PAST)
    more = {"WANDB_DATA_DIR": str(folder / "wandb"), **variables}
    return command(
        folder, sys.executable, "past.py", str(points), str(exit_code), "--token", "hunter22-very-secret", **more
    ).stdout.split()[-1]


def metrics(folder: Path, run_id: str) -> list[tuple[int, dict[str, float]]]:
    script = (
        "import json, sys; from lineage.wiring import wire\n"
        "print(json.dumps([(point.step, point.values) for point in wire().runs.metrics(sys.argv[1])]))\n"
    )
    found = json.loads(command(folder, sys.executable, "-c", script, run_id).stdout)
    return [(step, values) for step, values in found]


def test_a_folder_becomes_a_record(repository: Path) -> None:
    """Metrics, configuration, files in and out, packages, command and times; what is missing; no secret."""
    name = past(repository)
    (made,) = lineage(repository, "import", "wandb", "wandb")
    run = looked_up(repository, "show", made["run_id"])
    (again,) = lineage(repository, "import", "wandb", "wandb")
    (by_name,) = [looked_up(repository, "show", f"wandb:{name}")]

    assert (made["is_new"], again["is_new"], again["run_id"]) == (True, False, made["run_id"])
    assert by_name["id"] == run["id"]
    assert (run["name"], run["project"], run["group"], run["job_type"], run["tags"]) == ("past", "theirs", "g", "train", ["t"])
    assert run["state"] == "finished"
    assert 0 < run["duration_s"] < 60
    assert run["config"] == {
        "lr": 0.1,
        "nested": {"a": [1, 2]},
        "api_key": "<redacted>",
        "input_datasets": [{"Dataset": "s3://bucket/cars"}],
        "later": True,
    }
    assert run["command"] == ["python", "past.py", "5", "0", "--token", "<redacted>"] or run["command"][2:] == [
        "5",
        "0",
        "--token",
        "<redacted>",
    ]
    assert run["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert run["environment"]["packages"]["wandb"]["version"]
    (used,), (model, *sheets) = run["uses"], run["outputs"]
    assert (used["kind"], used["path"]) == ("dataset", "rows.txt")
    assert (model["name"], model["kind"], model["details"]["content"]) == ("net", "model", "kept")
    assert looked_up(repository, "data", model["digest"])["runs"][0]["run_id"] == run["id"], "a model is found by its content"
    assert run["imported"]["facts"]["git_commit"] == command(repository, "git", "rev-parse", "HEAD").stdout.strip()
    assert [text.partition(":")[0] for text in made["missing"]] == ["code", "data", "environment", "settings", "seed"]
    objects = FolderObjectStore(repository / ".lineage" / "objects")
    shown = {item["name"]: read_sheet(objects.get_bytes(item["digest"])) for item in sheets}
    assert sorted(shown) == ["media/histogram/5.json", "media/shown/5.json"]
    (picture,) = shown["media/shown/5.json"]["items"]
    assert (picture["caption"], picture["width"], picture["height"]) == ("a car", 4, 3)
    assert sum(shown["media/histogram/5.json"]["counts"]) == 2
    assert any("page" in note for note in run["notes"]), "what is not taken over is named"
    kept = [path for path in (repository / ".lineage").rglob("*") if path.is_file()]
    assert [str(path) for path in kept if b"hunter22-very-secret" in path.read_bytes()] == []


def test_every_point_is_taken_over(repository: Path) -> None:
    """Over block borders of the log, nested values under names with dots, steps and NaN as they were; a failed run is failed."""
    past(repository, points=600, exit_code=3)
    (made,) = lineage(repository, "import", "wandb", str(repository / "wandb"))
    run = looked_up(repository, "show", made["run_id"])
    points = metrics(repository, made["run_id"])

    assert (run["state"], run["error"]) == ("failed", "it ended with status 3")
    assert made["metric_points"] == 601
    assert points[:600] == [(step, {"loss": 1 / (step + 1), "deep.x": float(step)}) for step in range(600)]
    assert math.isnan(float(points[600][1]["loss"]))
    assert looked_up(repository, "verify", made["run_id"], status=0)


def test_reproducing_an_imported_run_is_blocked_with_reasons(repository: Path) -> None:
    """Each thing that nobody kept is a blocker of its own; nothing is executed."""
    past(repository)
    (made,) = lineage(repository, "import", "wandb", "wandb")
    done = command(repository, sys.executable, "-m", "lineage", "reproduce", made["run_id"], "--json", status=4)
    report = json.loads(done.stdout)
    blockers = {item["name"] for item in report["plan"]["ingredients"] if item["severity"] == "blocker"}

    assert report["verdict"] == "blocked"
    assert {"code", "data", "environment", "settings", "seed"} <= blockers


@pytest.mark.parametrize("share", [0.9, 0.3])
def test_a_torn_log_is_read_as_far_as_it_goes(repository: Path, share: float) -> None:
    """A log that breaks off gives the points before that, in order, and the record says that it is torn and how it ended is not known."""
    past(repository, points=600)
    (log,) = (repository / "wandb").glob("offline-run-*/*.wandb")
    os.truncate(log, int(log.stat().st_size * share))
    (made,) = lineage(repository, "import", "wandb", str(log))
    run = looked_up(repository, "show", made["run_id"])
    points = metrics(repository, made["run_id"])

    assert 0 < len(points) < 601
    assert [step for step, _ in points] == list(range(len(points)))
    assert run["state"] == "aborted"
    assert any("is torn" in note for note in run["notes"])


def test_bytes_that_are_not_what_was_written_end_the_reading(repository: Path) -> None:
    """A flipped bit is found by the log's own checksums; a file that is no log, and an empty folder, are named."""
    past(repository, points=600)
    (log,) = (repository / "wandb").glob("offline-run-*/*.wandb")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    (made,) = lineage(repository, "import", "wandb", "wandb")
    assert 0 < made["metric_points"] < 601
    assert any("not what was written" in note for note in made["notes"])

    log.write_bytes(b"no log at all")
    assert "expected it to begin with ':W&B'" in lineage(repository, "import", "wandb", "wandb", status=7)
    shutil.rmtree(log.parent)
    assert "no .wandb file in it" in lineage(repository, "import", "wandb", "wandb", status=5)
    assert "neither a folder with W&B runs nor" in lineage(repository, "import", "wandb", "nowhere", status=2)


def test_a_server_s_runs_become_records(repository: Path, wandb_server: Any) -> None:
    """By project, run or address of the page: the same record each time; a server that refuses is one clear error."""
    name = past(repository, **wandb_server.variables)
    (made,) = lineage(repository, "import", "wandb", "team/theirs", **wandb_server.variables)
    address = f"{wandb_server.address}/team/theirs/runs/{name}?nw=x"
    (again,) = lineage(repository, "import", "wandb", address, **wandb_server.variables)
    run = looked_up(repository, "show", address)
    points = metrics(repository, run["id"])

    assert (made["run_id"], made["is_new"], again["is_new"]) == (run["id"], True, False)
    assert again["run_id"] == run["id"]
    assert (run["name"], run["project"], run["group"], run["state"]) == ("past", "theirs", "g", "finished")
    assert [values.get("deep.x") for _, values in points[:5]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [item["name"] for item in run["outputs"]] == ["net:v0"]
    assert [item["kind"] for item in run["uses"]] == ["dataset"]
    assert run["environment"]["packages"]["wandb"]["version"]
    assert "no run" in looked_up(repository, "show", "wandb:nobody", status=5)
    wandb_server.behave("refuse")
    refused = lineage(repository, "import", "wandb", f"team/theirs/{name}", status=11, **wandb_server.variables)
    assert "the W&B server cannot be asked" in refused
    assert wandb_server.variables["WANDB_API_KEY"] not in refused


def test_a_run_that_was_recorded_is_not_recorded_twice(repository: Path) -> None:
    """Importing the folder of a run that this layer told to W&B gives its record; it is found by run id, artifact, alias and address."""
    (repository / "own.py").write_text("""
import sys
import lineage
with lineage.start_run("parking", "train", trackers=("wandb",)) as run:
    with open("net.pth", "w") as stream:
        stream.write(sys.argv[1])
    run.log_artifact("net.pth", kind="model")
""")
    for text in ("a", "a", "b"):
        command(repository, sys.executable, "own.py", text)
    third, second, first = looked_up(repository, "runs")
    imported = lineage(repository, "import", "wandb", ".lineage/wandb")
    (repository / "net.pth").unlink()
    name = first["trackers"]["wandb"]["id"]

    assert sorted(item["run_id"] for item in imported) == sorted(item["id"] for item in (first, second, third))
    assert all(item["was_recorded"] and not item["is_new"] for item in imported)
    for called in (f"wandb:{name}", f"wandb:parking/{name}", f"https://wandb.ai/team/parking/runs/{name}/overview"):
        assert looked_up(repository, "show", called)["id"] == first["id"]
    ambiguous = looked_up(repository, "show", "wandb:net:latest", status=2)
    assert first["id"][:12] in ambiguous
    assert third["id"][:12] in ambiguous
    assert second["id"][:12] not in ambiguous, "the same file again is one version, of the run that made it first"
    assert looked_up(repository, "show", f"wandb:other/{name}", status=5)
