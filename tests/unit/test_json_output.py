"""What ``--json`` prints is JSON, whatever a training logged."""

from __future__ import annotations

import json
import math

import pytest

from lineage.cli.output import print_json


def refuse(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


def test_numbers_that_json_does_not_know_are_texts(capsys: pytest.CaptureFixture[str]) -> None:
    """Losses of a diverged training are read by any parser."""
    print_json({"losses": [math.nan, math.inf, -math.inf, 1e-7], "name": "Prüfung"})

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"losses": ["NaN", "Infinity", "-Infinity", 1e-7], "name": "Prüfung"}
