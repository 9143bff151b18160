"""Checks Dockerfile and docker-compose.yml without a container engine.

Without options: the compose file against the schema of its specification, the Dockerfile with Hadolint, and the rules below; seconds.

    python scripts/check_compose.py --install service   # or worker

also does what that image's build does, on this machine: the Dockerfile's own RUN lines, with its folders put under a temporary one, then
starts the command and asks it something. It installs hundreds of megabytes (worker: gigabytes). What needs an engine is not checked: that
the base images exist, packages of Debian's, users, mounted volumes, networks and health checks.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|API_KEY")
FORBIDDEN = {"service": {"torch", "deeplake", "wandb"}, "worker": set[str]()}


def findings(compose: str, dockerfile: str) -> list[str]:
    """One sentence for each rule that is broken."""
    found = [*_compose(yaml.safe_load(compose), dockerfile)]
    # A secret may also hide in what is no variable of a service.
    for line in compose.splitlines():
        for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", line):
            if SECRET.search(name) and not rest.startswith(":?"):
                found.append(f"docker-compose.yml: ${{{name}}} has a default, or may be empty")
    stages = dict(_stages(dockerfile))
    for name in ("service", "worker"):
        users = [line.split()[1] for line in stages.get(name, []) if line.startswith("USER ")]
        if not users or users[-1] in ("root", "0"):
            found.append(f"Dockerfile: {name} runs as root")
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in _copied(dockerfile):
        if not any(Path(source).match(pattern) for pattern in allowed):
            found.append(f"Dockerfile: {source} is kept out by .dockerignore")
        elif not (ROOT / source).exists():
            found.append(f"Dockerfile: there is no {source}")
    return found


def _compose(compose: dict[str, Any], dockerfile: str) -> Iterator[str]:
    stages = dict(_stages(dockerfile))
    networks, volumes = set(compose.get("networks", {})), set(compose.get("volumes", {}))
    for name, service in compose["services"].items():
        where = f"docker-compose.yml: {name}"
        if "healthcheck" not in service:
            yield f"{where} has no health check"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{where} publishes {port} beyond this machine"
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and not re.fullmatch(r"\$\{\w+:\?.+\}", str(value)):
                yield f"{where}: {variable} has to come from outside, as ${{NAME:?what to do}}"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{where} may get new privileges"
        if not service.get("read_only") and "profiles" not in service:
            yield f"{where} can write to its own files"
        image = str(service.get("image", ""))
        if not re.search(r":(\$\{\w+:-)?\d+\.\d+", image):
            yield f"{where}: {image or 'no image'} names no release"
        if (target := service.get("build", {}).get("target")) is not None and target not in stages:
            yield f"{where} is built from the stage {target}, which the Dockerfile does not have"
        if unknown := set(service.get("networks", [])) - networks:
            yield f"{where} is in {', '.join(sorted(unknown))}, which is no network"
        if unknown := {str(item).partition(":")[0] for item in service.get("volumes", [])} - volumes:
            yield f"{where} mounts {', '.join(sorted(unknown))}, which is no volume"
        if unknown := set(service.get("depends_on", {})) - set(compose["services"]):
            yield f"{where} depends on {', '.join(sorted(unknown))}, which is no service"


def _lines(dockerfile: str) -> list[str]:
    """Instructions, each in one line."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def _stages(dockerfile: str) -> list[tuple[str, list[str]]]:
    stages: list[tuple[str, list[str]]] = []
    for line in _lines(dockerfile):
        if line.startswith("FROM "):
            stages.append((line.rpartition(" AS ")[2], []))
        stages[-1][1].append(line)
    return stages


def _copied(dockerfile: str) -> list[str]:
    return [source for line in _lines(dockerfile) if line.startswith("COPY ") and "--from=" not in line for source in line.split()[1:-1]]


def check_with_tools() -> list[str]:
    """What the schema and Hadolint say; one text for each that is not content."""
    commands = [
        [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        [str(TOOLS / "hadolint"), "--no-color", "Dockerfile"],
    ]
    done = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False) for command in commands]
    return [item.stdout + item.stderr for item in done if item.returncode]


def install(kind: str, folder: Path) -> None:
    """Do what the image's build does, below a folder, and start what it starts.

    Raises:
        subprocess.CalledProcessError: A step of the build fails.
        AssertionError: What was installed does not do what it should.
    """
    dockerfile = (ROOT / "Dockerfile").read_text()
    stages = dict(_stages(dockerfile))
    place, target = folder / "build", folder / "lineage"
    place.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(folder / "python")], check=True)
    # The container's Python is a fresh one, too; what this shell has set up must not help.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "LINEAGE_", "PG"))}
    variables["PATH"] = f"{folder / 'python' / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    for line in stages["build"] + stages[f"build-{kind}"]:
        if line.startswith("COPY "):
            *sources, to = line.split()[1:]
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place / to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, place)
        elif line.startswith("RUN "):
            command = line[4:].replace("/opt/lineage", str(target))
            print(f"$ {command}", flush=True)
            began = time.monotonic()
            subprocess.run(["sh", "-ec", command], cwd=place, env=variables, check=True)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
    used = sum(file.lstat().st_size for file in target.rglob("*") if file.is_file() and not file.is_symlink())
    packages = list(target.glob("lib/python*/site-packages/*.dist-info"))
    print(f"{kind}: {len(packages)} packages, {used / 2**20:.0f} MiB on top of the base image")
    python = target / "bin" / "python"
    look = "import importlib.util as u, sys; print(*(name for name in sys.argv[1:] if u.find_spec(name)))"
    asking = [str(python), "-c", look, *sorted(FORBIDDEN[kind]), "lineage"]
    there = subprocess.run(asking, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout.split()
    assert there == ["lineage"], f"expected only lineage, found {there}"
    variables |= {"LINEAGE_STORE": str(folder / "store"), "PATH": f"{target / 'bin'}:/nowhere", "HOME": str(folder)}
    if kind == "service":
        _start_service(target, variables)
    else:
        subprocess.run([str(target / "bin" / "lineage"), "worker", "--once"], cwd=folder, env=variables, check=True, timeout=120)
        look = "import torch, deeplake, wandb; print('  torch', torch.__version__)"
        subprocess.run([str(python), "-c", look], env=variables, check=True, timeout=120)
    print(f"{kind}: starts")


def _start_service(target: Path, variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(target / "bin" / "lineage"), "serve", "--port", str(port)]
    began = time.monotonic()
    with subprocess.Popen(command, env=variables, cwd=target.parent) as service:
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                        assert answer.status == 200
                    break
                except OSError:
                    assert service.poll() is None, "the service ended"
                    assert time.monotonic() - began < 60, "the service does not answer"
                    time.sleep(0.05)
            print(f"  /readyz after {time.monotonic() - began:.1f} s")
            service.terminate()
            assert service.wait(20) == 0
        finally:
            service.kill()


def main() -> int:
    """Print what is wrong; 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", choices=("service", "worker"), help="also install what this image holds, and start it")
    chosen = parser.parse_args()
    wrong = findings((ROOT / "docker-compose.yml").read_text(), (ROOT / "Dockerfile").read_text()) + check_with_tools()
    for sentence in wrong:
        print(sentence)
    if not wrong and chosen.install:
        with tempfile.TemporaryDirectory(prefix="lineage-image-") as folder:
            install(chosen.install, Path(folder))
    if not wrong:
        print("Dockerfile and docker-compose.yml are in order; no container engine was asked")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
