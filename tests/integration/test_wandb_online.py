"""What reaches a W&B server, from the real client: while it trains, and when the server refuses, hangs or talks nonsense."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import only_run
from tests.support.wandb_training import train


def test_a_run_reaches_the_server_while_it_is_told(folder: Path, wandb_server: Any) -> None:
    """Identity, metrics in order, input and output edges, names that W&B accepts; the user's own configuration keys are left alone."""
    train(folder, **wandb_server.variables)
    run = only_run(folder)
    told = run["trackers"]["wandb"]
    state = wandb_server.state()
    there = state["runs"][told["id"]]
    config = {key: item["value"] for key, item in json.loads(there["config"]).items()}
    (used,) = run["inputs"]
    artifacts = {item["name"]: item for item in state["artifacts"]}
    dataset = next(item for item in artifacts.values() if item["type"] == "dataset")

    assert run["notes"] == []
    assert told["delivered_at"]
    assert told["url"].endswith(f"/parking/runs/{told['id']}")
    assert (there["project"], there["facts"]["groupName"], there["facts"]["jobType"]) == ("parking", "g", "train")
    assert (there["facts"]["displayName"], there["facts"]["tags"]) == ("a/name", ["x", "y"])
    assert (state["streams"][told["id"]]["complete"], state["streams"][told["id"]]["exitcode"]) == (True, 0)
    assert [point["loss"] for point in wandb_server.history(told["id"])] == [1 / (step + 1) for step in range(200)]
    assert {key: config[key] for key in ("lr", "lineage", "train_uri", "input_datasets")} == {
        "lr": 0.1,
        "lineage": "theirs",
        "train_uri": "theirs",
        "input_datasets": ["theirs"],
    }
    assert config["lineage_lineage"]["run_id"] == config["lineage_run_id"] == run["id"]
    assert (config["lineage_train_uri"], config["train_commit_id"], config["train_view_id"]) == (
        used["uri"],
        used["commit_id"],
        used["view_id"],
    )
    assert state["used"] == [[told["id"], dataset["id"]]], "the input edge"
    assert dataset["run"] is None, "what was only read has no maker"
    assert f"commit-{used['commit_id']}-view-{used['view_id']}" in dataset["aliases"]
    assert (artifacts["model-v1"]["type"], artifacts["model-v1"]["run"]) == ("model", told["id"])
    assert json.loads(artifacts["model-v1"]["metadata"])["digest"] == run["outputs"][0]["digest"]
    assert artifacts["a" * 128]["type"] == "lineage-job", "W&B keeps the type 'job' to itself, and names to 128 letters"


@pytest.mark.parametrize("mode", ["refuse", "hang", "nonsense", "forget"])
def test_a_server_out_of_order_costs_the_training_nothing(folder: Path, wandb_server: Any, mode: str) -> None:
    """Training goes on at full speed, the end waits no longer than it was told to, and one sentence in the record says what is missing."""
    wandb_server.behave(mode)
    began = time.monotonic()
    done = train(folder, **wandb_server.variables, LINEAGE_WAIT="2")
    took = time.monotonic() - began
    longest, end = map(float, done.stdout.split())
    run = only_run(folder)

    assert longest < 0.5, "a call of log() waited"
    assert end < 8
    assert took < 30, "the process hung at its end"
    assert run["state"] == "finished"
    assert "delivered_at" not in run["trackers"]["wandb"]
    assert len([note for note in run["notes"] if "wandb has not got everything" in note and "lineage sync" in note]) == 1
    assert done.stderr.count("UserWarning: lineage: wandb") == 1
    assert wandb_server.variables["WANDB_API_KEY"] not in json.dumps(run)
