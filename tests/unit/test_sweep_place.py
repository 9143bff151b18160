"""Where sweeps are kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lineage.errors import MissingExtra, UsageError
from lineage.settings import Settings, load_settings
from lineage.wiring_sweeps import sweep_engine, sweeps_place

POSTGRES = "postgresql://me:s3cret@host/team"


def test_they_are_kept_beside_the_store_or_where_somebody_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = str(tmp_path / "store")
    assert sweeps_place(Settings(store, Path(store))) == f"{store}/sweeps.sqlite"
    assert sweeps_place(Settings(POSTGRES, Path(store))) == POSTGRES
    assert sweeps_place(Settings("http://service", Path(store), sweeps=POSTGRES)) == POSTGRES
    assert sweeps_place(Settings(store, Path(store), sweeps=str(tmp_path / "shared.journal"))) == str(tmp_path / "shared.journal")
    assert sweeps_place(Settings(store, Path(store), sweeps=str(tmp_path))) == str(tmp_path / "sweeps.sqlite")
    with pytest.raises(UsageError, match="a service, which keeps no sweeps") as caught:
        sweeps_place(Settings("https://service", Path(store)))
    assert "LINEAGE_SWEEPS" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="unknown form 'mysql://…'"):
        sweeps_place(Settings(store, Path(store), sweeps="mysql://me:s3cret@host/team"))
    monkeypatch.setenv("LINEAGE_SWEEPS", POSTGRES)
    found = load_settings(tmp_path, store)
    assert found.sweeps == POSTGRES
    assert "s3cret" not in repr(found)


def test_a_store_that_a_sweep_makes_first_stays_out_of_git(tmp_path: Path) -> None:
    folder = tmp_path / ".lineage"
    sweep_engine(Settings(str(folder), folder)).close()
    assert (folder / "sweeps.sqlite").is_file()
    assert (folder / ".gitignore").read_text() == "*\n"
    own = tmp_path / "own"
    own.mkdir()
    sweep_engine(Settings(str(own), own)).close()
    assert not (own / ".gitignore").exists(), "a folder of the user's is left as it is"


@pytest.mark.parametrize(("missing", "extra"), [("optuna", "sweeps"), ("psycopg", "postgres")])
def test_what_is_not_installed_is_named(missing: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingExtra) as caught:
        sweep_engine(Settings(POSTGRES, tmp_path))
    assert f"[{extra}]" in (caught.value.hint or "")
