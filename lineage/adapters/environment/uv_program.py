"""Where uv is, and how it is started: with the index that its user configured for it, or with the one that they configured for pip."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lineage.errors import Unavailable
from lineage.model.secrets import redact_text
from lineage.ports.children import Child

_LOOK_S = 0.5
_OF_OTHER_ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_CONSTRAINT")
# uv starts a package's own build, which is a stranger's program: what opens the store and other services is not uv's business.
_OPENS_OTHERS = re.compile(r"(LINEAGE|WANDB|RAY)_\w+|PG[A-Z]+")
_INDEX = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_CONFIG_FILE")
_FROM_PIP = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "cert": "SSL_CERT_FILE"}


def find_uv() -> tuple[str, ...]:
    """uv beside this interpreter, as a package of it, or on the search path.

    Raises:
        Unavailable: It is in none of these places.
    """
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file() and os.access(beside, os.X_OK):
        return (str(beside),)
    if importlib.util.find_spec("uv") is not None:
        return (sys.executable, "-m", "uv")
    found = shutil.which("uv")
    if found is None:
        raise Unavailable("uv is not installed, and environments are rebuilt with it", hint="pip install uv")
    return (found,)


def call_uv(
    arguments: Sequence[str],
    folder: Path,
    limit_s: float,
    *,
    as_pip: bool = False,
    wheels: Sequence[str] = (),
    waiting: Callable[[], None] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run uv in ``folder``, where it finds no project; what it says is free of credentials.

    Args:
        arguments: Command and options.
        folder: Working folder.
        limit_s: It is ended after so many seconds.
        as_pip: It looks for packages where pip would.
        wheels: Folders with wheels, beside those that the user named.
        waiting: Called twice a second; what it raises ends uv.

    Raises:
        Unavailable: It is not installed, cannot be started, or takes longer than the limit.
    """
    command = [*find_uv(), *arguments, "--no-progress", "--color", "never"]
    until = time.monotonic() + limit_s
    try:
        child = Child(
            command,
            cwd=folder,
            env=_variables(wheels, as_pip=as_pip),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"uv cannot be started: {error.strerror}", hint="pip install uv") from error
    with child:
        try:
            while True:
                try:
                    out, errors = child.communicate(timeout=min(_LOOK_S, max(0.0, until - time.monotonic())))
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > until:
                        hint = "the index it asks may not answer"
                        raise Unavailable(f"uv {arguments[0]} took longer than {limit_s:.0f} s", hint=hint) from None
                    waiting()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and what it started to build a package
            raise
    return subprocess.CompletedProcess(command, child.returncode, redact_text(out), redact_text(errors))


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What uv says is wrong, in one line."""
    lines = [re.sub(r"^[\s×╰─▶├│]*(error: |cause: |Caused by: )?", "", line).strip() for line in done.stderr.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Using Python", "Resolved", "hint:", "warning:"))]
    told = next((line for line in lines if line.startswith(("Because", "Failed", "No interpreter", "Could not"))), None)
    return (told or " ".join(lines[:2]) or f"it ended with status {done.returncode}")[:300]


def pip_is_configured() -> bool:
    """Whether pip was told where packages are, and uv was not: many users configured the one only."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "uv" / "uv.toml"
    if any(name in os.environ for name in _INDEX) or user.is_file() or Path("/etc/uv/uv.toml").is_file():
        return False
    return bool(_pip_configuration().keys() - {"SSL_CERT_FILE"})


def _variables(wheels: Sequence[str], *, as_pip: bool) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name not in _OF_OTHER_ENVIRONMENTS and not _OPENS_OTHERS.fullmatch(name)}
    if as_pip:
        # pip takes the best version of all indexes, uv by itself that of the first index that has the package.
        found = _pip_configuration() | {"UV_INDEX_STRATEGY": "unsafe-best-match"} | found
    places = ",".join(filter(None, [found.get("UV_FIND_LINKS", ""), *wheels]))  # as an option it would take the variable's place
    return found | ({"UV_FIND_LINKS": places} if places else {})


def _pip_configuration() -> dict[str, str]:
    """pip's index settings under uv's names."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    named = os.environ.get("PIP_CONFIG_FILE")
    files = [Path("/etc/pip.conf"), Path(os.path.expanduser("~/.pip/pip.conf")), config / "pip" / "pip.conf", Path(sys.prefix, "pip.conf")]
    found: dict[str, str] = {}
    for file in (*files, *([Path(named)] if named else [])):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, configparser.Error):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {_FROM_PIP[key]: value for key, value in parser.items(section) if key in _FROM_PIP}
    for key, name in _FROM_PIP.items():
        if (given := os.environ.get(f"PIP_{key.upper().replace('-', '_')}")) is not None:
            found[name] = given
    return {name: ("," if name == "UV_FIND_LINKS" else " ").join(value.split()) for name, value in found.items() if value.strip()}
