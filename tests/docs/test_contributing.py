"""What CONTRIBUTING.md shows works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's one fenced block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_importer_shown_can_be_used(tmp_path: Path, repository: Path) -> None:
    """The ten-line importer, in a package of its own, is found by ``lineage upload`` and stores the pictures it is given."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.new("RGB", (16, 12), (80 * number, 10, 10)).save(pictures / f"{number}.jpg")
    package = tmp_path / "site"
    metadata = package / "my_package-1.0.dist-info"
    metadata.mkdir(parents=True)
    (first_line,) = re.findall(r"`(from lineage\.model\.source import [^`]+)`", TEXT)
    (package / "my_package.py").write_text(f"{first_line}\n\n\n{block('python')}")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    ((group, points),) = tomllib.loads(block("toml"))["project"]["entry-points"].items()
    (metadata / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{name} = {point}\n" for name, point in points.items()))

    done = subprocess.run(
        [sys.executable, "-m", "lineage", "upload", "pictures", str(pictures), str(tmp_path / "dataset"), "--wandb", "disabled", "--json"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 3
