"""A bundle of a training that was resumed: the run before it comes along."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lineage.cli import app

RESUMED = """
import sys
import torch
import lineage
from lineage.training import Checkpoints, make_deterministic

with lineage.start_run(seed=3, config={"steps": 4}, resume=sys.argv[1] if len(sys.argv) > 1 else None) as run:
    print(run.id, flush=True)
    make_deterministic(run, threads=1)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run.watch(model, optimizer)
    checkpoints = Checkpoints(run, model=model, optimizer=optimizer, every_steps=2)
    for step in range(checkpoints.restore().step, 4):
        if step == 3 and len(sys.argv) == 1:
            raise SystemExit(1)
        loss = model(torch.randn(5, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.log({"loss": loss})
        checkpoints.step()
"""


def python(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def invoke(*words: str | Path) -> Any:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
def test_a_resumed_run_brings_the_one_before_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint and its record are in the file: what was taken over is taken over again."""
    file, with_all = tmp_path / "run.lineage", tmp_path / "all.lineage"
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(repository)
    (repository / "train.py").write_text(RESUMED)
    first = python("train.py", folder=repository).stdout.split()[0]
    second = python("train.py", first, folder=repository)
    assert second.returncode == 0, second.stderr
    run_id = second.stdout.split()[0]
    made = invoke("bundle", run_id, file)
    invoke("bundle", run_id, with_all, "--checkpoints")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(repository)
    shutil.rmtree(tmp_path / "store")

    report = invoke("reproduce", file, "--yes")

    assert made["records"] == [run_id, first]
    assert made["left_out"] == 1
    assert with_all.stat().st_size > file.stat().st_size
    assert report["verdict"] == "identical"
    assert report["comparison"]["changes"][0]["subject"] in {"steps", "metrics"}
