"""An environment that another interpreter of this machine runs in, asked before a command is started with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lineage.adapters.environment.local import RebuiltEnvironmentProbe, digest_of_packages
from lineage.adapters.environment.packages import read_packages
from lineage.errors import Unavailable
from lineage.ports import EnvironmentProbe

_TIMEOUT_S = 60
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_ASK = (
    "import json,platform,sys;"
    "print(json.dumps([platform.python_implementation(),platform.python_version(),sys.executable,sys.prefix,[p for p in sys.path if p]]))"
)


def interpreter_of(program: Path) -> Path | None:
    """The interpreter that a program is, or that its environment has beside it; ``None`` when it belongs to none."""
    if _PYTHON.fullmatch(program.name) is not None:
        return program
    beside = program.parent / "python"
    return beside if (program.parent.parent / "pyvenv.cfg").is_file() and beside.exists() else None


def probe_elsewhere(python: Path, here: EnvironmentProbe, variables: Mapping[str, str]) -> tuple[EnvironmentProbe, str]:
    """What describes the environment of an interpreter on this machine, and the folder of that environment.

    Packages are read from its module path by this process: the interpreter itself is asked for no more than its name and that path.

    Args:
        python: The interpreter.
        here: Describes this process, and with it the machine.
        variables: Those that the command will have.

    Raises:
        Unavailable: It cannot be started, or is no Python.
    """
    try:
        done = subprocess.run(
            [str(python), "-c", _ASK], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, env=dict(variables)
        )
        implementation, version, executable, prefix, path = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError) as error:
        raise Unavailable(f"{python} cannot be asked which environment it runs in: {type(error).__name__}") from error
    packages, sources = read_packages([folder for folder in path if os.path.isdir(folder)])
    environment = here.describe().model_copy(
        update={
            "implementation": implementation,
            "python": version,
            "executable": executable,
            "packages": packages,
            "sources": sources,
            "digest": digest_of_packages(implementation, version, packages),
        }
    )
    return RebuiltEnvironmentProbe(here, environment), prefix
