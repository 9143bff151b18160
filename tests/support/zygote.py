"""Programs that need PyTorch, Deep Lake and W&B, started without importing them each time: one process has them and forks for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_ZYGOTE = """
import json, os, runpy, sys
import torch, deeplake, wandb, matplotlib.pyplot, cv2
import lineage.cli, lineage.training, lineage.autologging.switch, lineage.adapters.datasets.deeplake, lineage.adapters.frameworks.torch
import pipelines.classification.__main__, pipelines.classification.job, pipelines.classification.report
from wandb.sdk.data_types._private import MEDIA_TMP

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for name, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(job[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            os.environ.clear(), os.environ.update(job["environment"]), os.chdir(job["folder"])
            os.makedirs(MEDIA_TMP.name, exist_ok=True)  # made when W&B was imported, and gone with the first child that ended
            program, *sys.argv = job["argv"][:1] + job["argv"]
            if program == "lineage":
                lineage.cli.main()
            elif program == "pipelines.classification":
                pipelines.classification.__main__.main()
            else:
                sys.path[0] = job["folder"]
                runpy.run_path(program, run_name="__main__")
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            import atexit
            atexit._run_exitfuncs(), sys.stdout.flush(), sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """A program that is over."""

    status: int
    stdout: str
    stderr: str


class Zygote:
    """Starts programs: a script by its path, ``lineage`` or ``pipelines.classification`` with their arguments."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._out, self._err = process, folder / "out", folder / "err"

    def __call__(self, *argv: str | Path | int, folder: Path, **variables: str) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        place = {"folder": str(folder), "environment": os.environ | variables, "out": str(self._out), "err": str(self._err)}
        self._process.stdin.write(json.dumps({"argv": [*map(str, argv)], **place}) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        return Ended(status, self._out.read_text(), self._err.read_text())


@contextmanager
def zygote(folder: Path) -> Iterator[Zygote]:
    """The process, for the time of the block; its own talk goes to files in ``folder``."""
    (folder / "zygote.py").write_text(_ZYGOTE)
    with (folder / "talk").open("w") as talk:
        words = [sys.executable, "-W", "ignore", str(folder / "zygote.py")]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=talk, text=True)
        try:
            yield Zygote(process, folder)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait(60)
            process.stdout.close()
