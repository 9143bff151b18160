"""Bubblewrap: what of this machine a command can see, and what it can change.

An allow-list: a folder that nobody names is not there. So the store, tokens and the account's home need no rule of their own; the rules
that there are (:data:`CREDENTIALS`) are for folders that were named and hold such things.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
# Not all of /etc: it is where passwords of the machine are kept.
_SETTINGS = (
    *("alternatives", "ca-certificates", "crypto-policies", "fonts", "glvnd", "host.conf", "hosts", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "locale.alias", "localtime", "mime.types", "nsswitch.conf", "OpenCL", "os-release", "pki", "protocols"),
    *("resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "timezone", "vulkan", "passwd", "group"),
)
_FACTS = ("/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/module")  # libraries look up processors and GPUs there
_DEVICES = ("nvidia*", "dri", "dxg", "kfd")
CREDENTIALS = (
    *(".aws", ".azure", ".cache/huggingface", ".config", ".docker", ".git-credentials", ".gnupg", ".huggingface", ".kaggle", ".kube"),
    *(".lineage", ".local/share/keyrings", ".netrc", ".password-store", ".pgpass", ".pypirc", ".ssh", ".wandb"),
)
"""Below a home: hidden wherever a folder that was named would show them. ``.lineage`` is hidden at the top of each such folder."""
_STORE = ".lineage"
_NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--new-session")
# Started by root, bubblewrap leaves it every privilege inside: enough to make what is read-only writable again.
_PRIVILEGES = ("--cap-drop", "ALL")
_PROBE_S = 20.0
WRAPPERS = 2
"""Processes between whoever starts bubblewrap and the command: itself, and the first process of the sandbox."""


@dataclass(frozen=True)
class Sandbox:
    """What this host has.

    Attributes:
        program: Bubblewrap.
        options: Options that it needs here, or can have.
    """

    program: str
    options: tuple[str, ...]


def find() -> Sandbox | str:
    """The sandbox of this host, or why there is none. Found out by making one: being installed is not enough."""
    program = shutil.which("bwrap", path=os.environ.get("PATH", os.defpath))
    return "no bubblewrap on this host" if program is None else _tried(program)


@functools.cache
def _tried(program: str) -> Sandbox | str:
    why = ""
    for options in (("--unshare-user", "--disable-userns"), ("--unshare-user",)):  # the second is younger (0.8)
        sandbox = Sandbox(program, options)
        words, _ = arguments(sandbox, folder=Path("/usr"), writable=(), readable=(), hidden=(), variables={}, has_network=False)
        try:
            done = subprocess.run(
                [program, *words, "--", "true"],
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap does not work on this host: {error}"
        if done.returncode == 0:
            return sandbox
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        why = f"bubblewrap does not work on this host: {lines[-1].removeprefix('bwrap: ')}"
    return why


def arguments(
    sandbox: Sandbox,
    *,
    folder: Path,
    writable: Sequence[Path],
    readable: Sequence[Path],
    hidden: Iterable[Path],
    variables: dict[str, str],
    has_network: bool,
    memory_bytes: int | None = None,
) -> tuple[list[str], list[str]]:
    """Arguments before the command, and the folders that are kept in memory.

    Args:
        sandbox: What this host has.
        folder: Working directory, writable.
        writable: Further ones.
        readable: What else is there. Whatever lies deeper decides: a folder inside a hidden one can be named.
        hidden: What is not there, even inside a folder that was named.
        variables: All of the command's.
        has_network: Leave it the network.
        memory_bytes: Most that a folder in memory may take.
    """
    mounts = _system()
    homes = {Path(home) for home in (_home(), variables.get("HOME", "")) if home and Path(home).is_absolute() and Path(home) != Path("/")}
    for home in homes:
        mounts[home.resolve()] = "memory"
    shown = {path.resolve(): "read" for path in readable} | {path.resolve(): "write" for path in (folder, *writable)}
    kept = {*hidden, *(path / _STORE for path in shown), *(home / name for home in homes for name in CREDENTIALS)}
    secret = {path.resolve(): "hidden" for path in kept if _holder(path.resolve(), shown) is not None and path.exists()}
    links: dict[Path, str] = {}
    for path in (folder, *writable, *readable, *homes):
        links |= {link: f"link:{target}" for link, target in _links(path) if _holder(link, mounts | shown) is None}
    mounts = links | mounts | shown | {path: kind for path, kind in secret.items() if path not in shown}
    words = [*sandbox.options, *_NAMESPACES, *_PRIVILEGES, *([] if has_network else ["--unshare-net"])]
    words += ["--clearenv", *(word for name, value in variables.items() for word in ("--setenv", name, value))]
    words += [*_mounted(mounts, memory_bytes), "--remount-ro", "/", "--chdir", str(folder.resolve())]
    return words, ["/dev", *(str(path) for path, kind in mounts.items() if kind == "memory")]


def is_shown(path: Path, named: Iterable[Path]) -> bool:
    """Whether the command would find this file, whose folder has no link in it, when these files and folders are named."""
    return _holder(path, {**_system(), **{other.resolve(): "" for other in named}}) is not None


def python_folders() -> tuple[Path, ...]:
    """What the Python of this process needs to be there: its installation, its environment, and what is on its path by other ways."""
    folders = [Path(sys.base_prefix), Path(sys.prefix)]
    for entry in sys.path:
        path = Path(entry)
        if entry and path.is_absolute() and path.exists() and _holder(path.resolve(), {one.resolve(): "" for one in folders}) is None:
            folders.append(path)
    return tuple(dict.fromkeys(folders))


def _system() -> dict[Path, str]:
    """Whatever every command finds. Links at the top (``/bin``) stay links."""
    mounts: dict[Path, str] = {Path("/proc"): "processes", Path("/dev"): "devices", Path("/tmp"): "memory"}
    for name in (*SYSTEM, *(f"/etc/{setting}" for setting in _SETTINGS), *_FACTS):
        path = Path(name)
        if path.is_symlink():
            mounts[path] = f"link:{os.readlink(path)}"
            path = path.resolve()
        if path.exists() and _holder(path, mounts) is None:
            mounts[path] = "read"
    for pattern in _DEVICES:
        mounts |= dict.fromkeys(Path("/dev").glob(pattern), "device")
    return mounts


def _mounted(mounts: dict[Path, str], memory_bytes: int | None = None) -> list[str]:
    words: list[str] = []
    size = [] if memory_bytes is None else ["--size", str(memory_bytes)]
    for path, kind in sorted(mounts.items(), key=lambda item: len(item[0].parts)):
        name = str(path)
        kind, _, target = kind.partition(":")
        if kind == "hidden":
            words += ["--tmpfs", name] if path.is_dir() else ["--ro-bind", os.devnull, name]
        elif kind == "memory":
            words += [*size, "--tmpfs", name]
        elif kind == "link":
            words += ["--symlink", target, name]
        else:
            words += {
                "read": ["--ro-bind", name, name],
                "write": ["--bind", name, name],
                "device": ["--dev-bind", name, name],
                "processes": ["--proc", name],
                "devices": ["--dev", name],
            }[kind]
    empty = [path for path, kind in mounts.items() if kind == "hidden" and path.is_dir()]
    return [*words, *(word for path in empty for word in ("--remount-ro", str(path)))]  # last: they may hold what was named


def _holder(path: Path, mounts: dict[Path, str]) -> Path | None:
    """The nearest one of the mounts that shows the path; ``None``: it is not there, or what is nearest is empty."""
    for place in (path, *path.parents):
        if place in mounts:
            return None if mounts[place] in ("memory", "processes", "devices", "hidden") else place
    return None


def _links(path: Path) -> Iterator[tuple[Path, str]]:
    """Links on the way to a path, with what they say: the command was given the path by that way."""
    absolute = Path(os.path.abspath(path))
    for place in (*reversed(absolute.parents), absolute):
        if place.is_symlink():
            yield place.parent.resolve() / place.name, os.readlink(place)


def _home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a container's account without a name
        return os.path.expanduser("~")
