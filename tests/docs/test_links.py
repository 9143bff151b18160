"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"")
SCRIPT = re.compile(r"(?<![\w./])(?:\./)?((?:scripts|docs|benchmarks|\.ci)/[\w./-]*[\w-])")


def prose(page: Path) -> str:
    """The page without fenced code and code spans, in which brackets mean something else."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The fragment of each heading, as GitHub makes them."""
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found[slug if slug not in found else f"{slug}-{found[slug]}"] = found.get(slug, 0) + 1
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    """A link from README, CONTRIBUTING or docs/ to a file or a heading of the repository leads somewhere."""
    broken = []
    for target in (match[1] or match[2] for match in LINK.finditer(prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = unquote(target).partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("name", ["Makefile", "README.md", "CONTRIBUTING.md", "docs/cli.md", ".ci/run"])
def test_scripts_that_are_named_exist(name: str) -> None:
    """Every file under scripts/, docs/, benchmarks/ or .ci/ that these name is there: the demo's script above all."""
    named = set(SCRIPT.findall((ROOT / name).read_text(encoding="utf-8")))

    assert {path for path in named if not (ROOT / path).exists()} == set()
    assert name != "Makefile" or "scripts/demo.sh" in named


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    """The reading of links and headings behind these tests works on a page with one of each kind."""
    page = tmp_path / "page.md"
    page.write_text(
        '# A `b` (c)\n[x](gone.md) ![y](pic.png "t")\n```\n[code](no.md)\n# no\n```\n`[span](no.md)`\n## A b c\n', encoding="utf-8"
    )

    assert [match[1] for match in LINK.finditer(prose(page))] == ["gone.md", "pic.png"]
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
