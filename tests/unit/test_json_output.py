"""What ``--json`` prints is JSON, whatever a training logged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lineage
from lineage.cli import app


def refuse(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.filterwarnings("ignore:lineage:UserWarning")
def test_numbers_that_json_does_not_know_are_texts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diverged training's record and difference are read by any parser."""
    monkeypatch.chdir(repository)
    with lineage.start_run(seed=1) as run:
        run.log({"loss": math.nan, "score": -math.inf})
    with lineage.start_run(seed=1) as other:
        other.log({"loss": math.inf, "score": 1e-7})

    for words in (["show", run.id], ["runs"], ["diff", run.id, other.id]):
        printed = CliRunner().invoke(app, [*words, "--json"]).stdout
        found = json.loads(printed, parse_constant=refuse)
        if words[0] == "show":
            assert found["summary"] == {"loss": "nan", "score": "-inf"}
