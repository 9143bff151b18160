"""Sizes of modules, and the names the package offers."""

from __future__ import annotations

import re
from pathlib import Path

import lineage

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400


def test_no_module_is_long() -> None:
    """A module fits into a reader's head: 400 lines at most."""
    modules = [path for package in ("lineage", "service", "pipelines") for path in sorted((ROOT / package).rglob("*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}

    assert lengths, "no module found"
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_public_names_are_the_documented_ones() -> None:
    """``lineage.__all__`` and the headings of docs/python-api.md (### `name`) are the same set, and every name is there."""
    text = (ROOT / "docs" / "python-api.md").read_text()
    documented = set(re.findall(r"^### `(?:lineage\.)?([A-Za-z_]\w*)(?:\(.*\))?`\s*$", text, flags=re.MULTILINE))

    assert set(lineage.__all__) == documented
    assert [name for name in lineage.__all__ if not hasattr(lineage, name)] == []
    assert list(lineage.__all__) == sorted(lineage.__all__), "keep __all__ sorted"
