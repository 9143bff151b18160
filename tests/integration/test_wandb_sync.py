"""``lineage sync``: what was recorded offline, or not taken by its server, or left behind by a killed training, gets there, once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.commands import lineage, looked_up, only_run
from tests.support.wandb_training import train


def test_a_server_that_goes_away_halfway_is_caught_up_with(folder: Path, wandb_server: Any) -> None:
    """What was sent before it hung is there once; ``lineage sync`` sends the rest, and done again it sends nothing."""
    train(folder, wandb_server.address, **wandb_server.variables, LINEAGE_WAIT="2")
    run = only_run(folder)
    name = run["trackers"]["wandb"]["id"]
    failed = lineage(folder, "sync", "--wait", "2", status=11, **wandb_server.variables)
    wandb_server.behave("normal")
    sent = lineage(folder, "sync", **wandb_server.variables)
    state = wandb_server.state()
    again = lineage(folder, "sync", **wandb_server.variables)
    forced = lineage(folder, "sync", run["id"], "--again", **wandb_server.variables)
    later = wandb_server.state()

    assert [item["outcome"] for item in failed] == ["failed"]
    assert [(item["run_id"], item["outcome"], item["was_rebuilt"]) for item in sent] == [(run["id"], "sent", False)]
    assert again == []
    assert [item["outcome"] for item in forced] == ["sent"]
    assert [point["epoch"] for point in wandb_server.history(name)] == list(range(200))
    assert sorted(state["runs"]) == sorted(later["runs"]) == [name]
    assert sorted((item["name"], item["version"]) for item in later["artifacts"]) == sorted(
        (item["name"], item["version"]) for item in state["artifacts"]
    )
    assert all(item["version"] == 0 for item in later["artifacts"]), "nothing is there twice"
    assert only_run(folder)["trackers"]["wandb"]["delivered_at"]
    assert looked_up(folder, "verify", run["id"])


def test_a_folder_that_is_gone_is_written_again_from_the_record(folder: Path, wandb_server: Any) -> None:
    """Recorded offline, W&B's files deleted: the server gets the run under its old id, with metrics, edges and model."""
    train(folder)
    run = only_run(folder)
    name = run["trackers"]["wandb"]["id"]
    shutil.rmtree(folder / ".lineage" / "wandb")
    (sent,) = lineage(folder, "sync", run["id"][:8], **wandb_server.variables)
    state = wandb_server.state()

    assert (sent["outcome"], sent["was_rebuilt"]) == ("sent", True)
    assert sorted(state["runs"]) == [name]
    assert [point["loss"] for point in wandb_server.history(name)] == [1 / (step + 1) for step in range(200)]
    assert {item["type"] for item in state["artifacts"]} == {"dataset", "model", "lineage-job"}
    assert len(state["used"]) == 1


def test_a_torn_folder_is_sent_as_far_as_it_can_be_read(folder: Path, wandb_server: Any) -> None:
    """The log of a killed training breaks off: what is before that reaches the server, and the loss is said, once."""
    train(folder)
    run = only_run(folder)
    (log,) = Path(run["trackers"]["wandb"]["directory"]).glob("*.wandb")
    os.truncate(log, [found.start() for found in re.finditer(b"epoch", log.read_bytes())][120])  # inside a step's record
    (sent,) = lineage(folder, "sync", **wandb_server.variables)
    there = wandb_server.history(run["trackers"]["wandb"]["id"])

    assert sent["outcome"] == "partly"
    assert "incomplete record" in sent["detail"]
    assert 0 < len(there) < 200
    assert [point["epoch"] for point in there] == list(range(len(there)))
    assert lineage(folder, "sync", **wandb_server.variables) == []


def test_a_killed_training_is_sent_later(folder: Path, wandb_server: Any) -> None:
    """SIGKILL in the middle: no process of ours is left, and everything that W&B's client had written reaches the server."""
    script = """
import os, time
import lineage
run = lineage.start_run("parking", trackers=("wandb",))
for step in range(2000):
    run.log({"loss": step})
time.sleep(2)
print(os.getpid(), flush=True)
time.sleep(100)
"""
    (folder / "script.py").write_text(script)
    variables = {**os.environ, **wandb_server.variables, "LINEAGE_WAIT": "2"}
    with subprocess.Popen([sys.executable, "script.py"], cwd=folder, stdout=subprocess.PIPE, text=True, env=variables) as training:
        assert training.stdout is not None
        training.stdout.readline()
        training.kill()
    run = only_run(folder)
    wanted = run["trackers"]["wandb"]["directory"].encode()
    until = time.monotonic() + 20
    while (left := [item for item in Path("/proc").glob("[0-9]*/cmdline") if _holds(item, wanted)]) and time.monotonic() < until:
        time.sleep(0.1)
    (sent,) = lineage(folder, "sync", **wandb_server.variables)
    there = wandb_server.history(run["trackers"]["wandb"]["id"])

    assert left == [], "a process that sends outlived its training"
    assert sent["outcome"] in ("sent", "partly")
    assert len(there) > 1000
    assert [point["loss"] for point in there] == list(range(len(there)))
    assert only_run(folder)["state"] == "aborted"


def _holds(file: Path, words: bytes) -> bool:
    try:
        return words in file.read_bytes()
    except OSError:
        return False
