"""Fails when a file of the repository names a package registry's host or a path of one machine.

Such names make a clone depend on where it was made. Reads what git tracks and what it would track (not what it ignores).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Written with brackets, so that this file does not hold what it looks for.
FORBIDDEN = {
    "host of a package registry": re.compile(
        rb"p[y]pi\.org|p[y]thonhosted\.org|n[p]mjs\.org|c[r]ates\.io|download\.p[y]torch\.org|(?:deb|security)\.d[e]bian\.org"
        rb"|proxy\.g[o]lang\.org|https?://[^\s\"'<>]+/s[i]mple\b"
    ),
    "path of one machine": re.compile(rb"(?<![\w.])/(?:w[o]rk|r[o]ot|f[a]rm|o[p]t/(?:wheels|pypi)|h[o]me/\w+|U[s]ers/\w+)/"),
}


def repository_files(root: Path) -> list[Path]:
    """Files that are, or would be, committed from ``root``."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    paths = [root / name.decode() for name in listed.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def findings(root: Path) -> list[str]:
    """One sentence for each line that names such a thing."""
    found = []
    for path in repository_files(root):
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            for what, pattern in FORBIDDEN.items():
                match = pattern.search(line)
                if match:
                    found.append(f"{path.relative_to(root)}:{number}: {what}: {match[0].decode(errors='replace')}")
    return found


def main() -> int:
    """Print the findings; 1 when there are any."""
    found = findings(Path(__file__).resolve().parents[1])
    for sentence in found:
        print(sentence)
    print(f"{len(found)} addresses or paths that only one machine knows" if found else "no registry host, no path of one machine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
