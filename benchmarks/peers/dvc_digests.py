"""DVC's digest of folders, in an environment of its own: ``dvc add`` of each, in a throwaway DVC repository around them.

    python dvc_digests.py FOLDER…

The folders lie side by side. Prints one JSON object: the digest of each, and the seconds it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["DVC_NO_ANALYTICS"] = "1"

import dvc
from dvc.repo import Repo


def main() -> None:
    folders = [Path(name).resolve() for name in sys.argv[1:]]
    os.chdir(folders[0].parent)
    repo = Repo.init(no_scm=True)
    found: dict[str, tuple[str, float]] = {}
    for folder in folders:
        began = time.perf_counter()
        (stage,) = repo.add(str(folder))
        found[folder.name] = (stage.outs[0].hash_info.value, time.perf_counter() - began)
    json.dump({"digests": found, "versions": f"dvc {dvc.__version__}"}, sys.stdout)


if __name__ == "__main__":
    main()
