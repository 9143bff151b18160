"""A W&B server on this machine that deals out the points of a grid to the real ``wandb agent``: for ``benchmarks/sweep_agent.py``.

It is the one that the tests have (``tests/support/wandb_backend.py``), with sweeps. It prints its address and serves until its standard
input closes.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support import wandb_backend


class SweepBackend(wandb_backend.Backend):
    """A server with sweeps over grids."""

    def __init__(self) -> None:
        super().__init__()
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.agents: dict[str, str] = {}

    def on_UpsertSweep(self, values: dict[str, Any]) -> dict[str, Any]:
        """Make a sweep."""
        name = f"sweep{len(self.sweeps):03}"
        config = yaml.safe_load(values["config"])
        names = list(config["parameters"])
        points = itertools.product(*(config["parameters"][key]["values"] for key in names))
        self.sweeps[name] = {
            "id": self.new_id("Sweep"),
            "text": values["config"],
            "project": values["projectName"],
            "program": config["program"],
            "points": [{key: {"value": value} for key, value in zip(names, point, strict=True)} for point in points],
        }
        sweep = {"name": name, "project": self._project(values["projectName"])}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def on_SweepWithRuns(self, values: dict[str, Any]) -> dict[str, Any]:
        """Tell of a sweep."""
        name = values.get("sweep") or values["name"]
        sweep = self.sweeps[name]
        told = {
            "id": sweep["id"],
            "name": name,
            "method": "grid",
            "state": "RUNNING",
            "description": None,
            "config": sweep["text"],
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": None,
            "updatedAt": None,
            "earlyStopJobRunning": False,
            "bestLoss": None,
            "controller": None,
            "scheduler": None,
            "runs": {"edges": []},
        }
        return {"project": {"sweep": told}}

    on_GetSweepState = on_GetSweep = on_SweepWithRuns

    def on_CreateAgent(self, values: dict[str, Any]) -> dict[str, Any]:
        """Register an agent."""
        agent = self.new_id("Agent")
        self.agents[agent] = values["sweep"]
        return {"createAgent": {"agent": {"id": agent}}}

    def on_Heartbeat(self, values: dict[str, Any]) -> dict[str, Any]:
        """Deal out the next point to an agent that runs none; W&B's own server does it in the same way."""
        name = self.agents[values["id"]]
        points = self.sweeps[name]["points"]
        commands: list[dict[str, Any]] = []
        if not json.loads(values["runState"] or "{}"):
            commands = [{"type": "exit"}]
            if points:
                number = f"{name}-{len(points)}"
                commands = [{"type": "run", "run_id": number, "program": self.sweeps[name]["program"], "args": points.pop(0)}]
        return {"agentHeartbeat": {"agent": {"id": values["id"]}, "commands": json.dumps(commands)}}


if __name__ == "__main__":
    wandb_backend.BACKEND = SweepBackend()
    wandb_backend.main()
