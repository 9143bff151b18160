"""Commands on a Ray cluster of two nodes: real ones, in a network namespace of their own.

Ray is not among this project's packages: nothing of it is needed to ask a cluster for something. ``LINEAGE_TEST_RAY`` names the program
``ray`` of an environment that has it (``ray[default]``, 2.60 was tested); it is also found on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lineage.adapters.executors import bubblewrap
from lineage.adapters.executors.ray import RayExecutor
from lineage.errors import ExecutionFailed
from lineage.ports.executor import Limits, Task

SCENES = Path(__file__).parents[1] / "support" / "ray_scenes.py"
PATIENCE_S = 540

Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """What the scenes of ``tests/support/ray_scenes.py`` saw, by their name."""
    ray = os.environ.get("LINEAGE_TEST_RAY") or shutil.which("ray")
    if ray is None:
        pytest.skip("needs Ray: name the program `ray` of an environment with ray[default] in LINEAGE_TEST_RAY")
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        tried = subprocess.run([*apart, "true"], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        pytest.skip(f"needs a network namespace, or Ray would listen on every address of this machine: {error}")
    if tried.returncode != 0:
        pytest.skip(f"needs a network namespace, or Ray would listen on every address of this machine: {tried.stderr.strip()}")
    folder = Path(tempfile.mkdtemp(prefix="lineage-ray-"))
    done = subprocess.run([*apart, sys.executable, SCENES, ray, folder], stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, "the scenes broke off; their messages are above"
    yield json.loads(done.stdout)
    shutil.rmtree(folder)


def isolation() -> list[str]:
    """What this machine's sandbox is said to hold."""
    found = bubblewrap.find()
    return ["network off", "files read-only", "home hidden", "processes apart"] if not isinstance(found, str) else []


@pytest.mark.slow
def test_a_command_on_a_node_is_as_one_of_this_machine(told: Told) -> None:
    scene = told["ends"]
    assert (scene["why"], scene["status"]) == ("exited", 3)
    assert scene["log"] == "['WEIGHT']\ntwo\n"
    assert scene["first"] == ["waits for a node of the cluster"]
    assert scene["isolation"][: len(isolation())] == isolation()
    assert scene["isolation"][-1].startswith("on ")
    assert scene["left"] == [], "the folder with its variables is gone"


@pytest.mark.slow
def test_it_is_asked_to_end_and_ends(told: Told) -> None:
    assert (told["stopped"]["why"], told["stopped"]["status"], told["stopped"]["log"]) == ("stopped", 5, "asked\n")
    assert told["stopped"]["released"]
    assert (told["waiting"]["why"], told["waiting"]["ran"], told["waiting"]["left"]) == ("stopped", False, [])


@pytest.mark.slow
def test_limits_hold_on_the_node(told: Told) -> None:
    assert (told["too_long"]["why"], told["too_long"]["status"]) == ("time", 5)


@pytest.mark.slow
def test_a_node_ends_what_nobody_asks_for_any_more(told: Told) -> None:
    assert told["silent"] == {"released": True, "log": "asked\n"}


@pytest.mark.slow
def test_a_node_that_is_gone_is_lost_and_leaves_nothing(told: Told) -> None:
    assert (told["lost"]["why"], told["lost"]["status"]) == ("lost", None)
    assert told["lost"]["released"]
    assert "[" in told["lost"]["log"], "why it is lost stands in the log"
    assert told["lost"]["left"] == []


@pytest.mark.slow
def test_a_worker_runs_a_recorded_run_again_on_the_cluster(told: Told) -> None:
    assert (told["rerun"]["state"], told["rerun"]["verdict"], told["rerun"]["error"]) == ("succeeded", "identical", None)
    assert told["rerun"]["isolation"][-1].startswith("on ")


@pytest.mark.slow
def test_agents_of_a_sweep_run_on_the_cluster(told: Told) -> None:
    scene = told["sweep"]
    assert (scene["state"], scene["best"]) == ("finished", 1)
    assert scene["trials"] == [["complete", value] for value in (0.4, 0.1, 0.3, 0.2)]


@pytest.mark.slow
def test_refusals_and_what_a_node_does_not_have(told: Told) -> None:
    refused = told["refused"]
    assert "refuses the token" in refused["token"]
    assert "wr0ng" not in refused["token"]
    assert "does not answer" in refused["none"]
    assert "http://head:8265" in refused["form"]
    assert "is not the dashboard of a Ray cluster" in refused["other"]
    assert refused["left"] == []
    assert (told["missing"]["why"], told["missing"]["status"]) == ("exited", 127)
    assert "no-such-program: no such program" in told["missing"]["log"]
    assert told["missing"]["isolation"] == ["was not started"]


def test_a_cluster_that_does_not_answer_needs_no_ray_to_say_so(tmp_path: Path) -> None:
    task = Task("t", ["train", "--token", "s3cr3t-s3cr3t"], tmp_path, tmp_path / "log", {}, limits=Limits(seconds=1))
    for address in ("http://127.0.0.1:9", "ray://127.0.0.1:10001", "http://127.0.0.1:port", ""):
        with pytest.raises(ExecutionFailed) as caught:
            RayExecutor(address, token="t0ken-t0ken").start(task)
        assert "Ray cluster" in str(caught.value.hint)
        assert "s3cr3t" not in f"{caught.value} {caught.value.hint}"
        assert "t0ken" not in f"{caught.value} {caught.value.hint}"
    assert list(tmp_path.iterdir()) == [], "the folder with its variables is gone"
