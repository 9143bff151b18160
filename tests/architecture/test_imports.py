"""Who may import whom, and what importing costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = ("PIL", "deeplake", "dvc", "fastapi", "git", "imagehash", "psycopg", "pyroaring", "rich", "torch", "typer", "wandb")


def loaded_by(statement: str) -> set[str]:
    """Top-level names in ``sys.modules`` of a fresh interpreter after ``statement``."""
    program = f"import json, sys; {statement}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_import_contracts_hold() -> None:
    """Every import follows the layers that docs/architecture.md draws."""
    linter = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


def test_a_statement_that_loads_a_framework_is_seen() -> None:
    """The probe behind the next test notices a framework (it would be worth nothing otherwise)."""
    assert {"typer", "rich"} <= loaded_by("import typer, rich.table")


def test_importing_lineage_loads_no_framework() -> None:
    """``import lineage`` stays light: frameworks load when a verb first needs them."""
    assert loaded_by("import lineage").isdisjoint(FRAMEWORKS)
