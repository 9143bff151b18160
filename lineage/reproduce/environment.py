"""Which environment a reproduction runs in: this one, when it is the recorded one; else the recorded one, built again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lineage.errors import LineageError
from lineage.lookup.environments import changed_packages, machine_changes, package_change
from lineage.model.environment import Environment, lock_of
from lineage.model.plan import Ingredient, Plan, Severity
from lineage.model.run import Run
from lineage.ports import Ports, Progress
from lineage.record.installed import loaded_paths

Mode = Literal["auto", "recorded", "current"]

ENVIRONMENT = "environment"
_PACKAGES_SHOWN = 8
_REBUILT = "rebuilt"
_MACHINE = {
    "processor": ("with the same instruction sets numbers should stay", False),
    "instruction sets": ("libraries choose other code by them, which adds in another order: may change the last bits of any number", True),
    "GPUs": ("other kernels, other orders of addition: may change the last bits of any number", True),
    "GPU driver": ("compiles kernels when they are loaded: may change the last bits of numbers", False),
    "C library": ("exp, log, sin and others may round differently", False),
}
"""By the name that ``machine_changes`` gives: what it can change, and whether that is likely."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What a reproduction's command is started with.

    Attributes:
        python: A rebuilt environment's interpreter; ``None`` for the one of this process.
        recorded: The interpreter's path when the run was made.
    """

    python: Path | None = None
    recorded: str = ""

    def program(self, name: str, *, is_recorded: bool) -> str:
        """A recorded program's path in this environment.

        Args:
            name: As it was recorded.
            is_recorded: It stands for the recorded interpreter.
        """
        if is_recorded:
            return sys.executable if self.python is None else str(self.python)
        if self.python is None or not self.recorded:
            return name
        at = self.python.with_name(Path(name).name)
        is_script = Path(name).parent in (Path(), Path(self.recorded).parent)  # installed by a package, beside the interpreter
        return str(at) if is_script and at.is_file() else name

    def variables(self, given: dict[str, str]) -> dict[str, str]:
        """A child's variables, so that it finds this environment's programs first."""
        if self.python is None:
            return given
        folder = str(self.python.parent)
        # Compiled modules of an environment of ours are kept for the next one that runs in it: compiling PyTorch's takes seconds.
        dropped = ("PYTHONHOME", "CONDA_PREFIX", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in given.items() if name not in dropped}
        return kept | {"PATH": os.pathsep.join(filter(None, [folder, given.get("PATH", "")])), "VIRTUAL_ENV": str(self.python.parents[1])}


class ChosenEnvironment:
    """Decides once, and tells the plan; builds when that is wanted.

    Args:
        ports: The outside world.
        run: The run to repeat.
        mode: ``recorded``: the recorded environment or none; ``current``: this one; ``auto``: this one when it is the recorded one, else
            the recorded one, and this one with a warning where that cannot be had.
    """

    def __init__(self, ports: Ports, run: Run, mode: Mode = "auto") -> None:
        self._ports = ports
        self._run = run
        self._mode = mode
        self._wants_building = False
        self.ports = ports
        self.interpreter = Interpreter(None, "" if run.environment is None else run.environment.executable)

    def rows(self) -> Sequence[Ingredient]:
        """What the plan says of it. Nothing is built."""
        recorded, now = self._run.environment, self._ports.environment.describe()
        if recorded is None:
            severity: Literal["blocker", "warning"] = "blocker" if self._mode == "recorded" else "warning"
            return [_row("missing", severity, "none", _short(now), ["no environment was recorded"])]
        if self._mode == "current":
            return [self._current(recorded, now)]
        altered = self._altered_here()
        if self._mode == "auto" and recorded.digest == now.digest and not altered:
            return [self._current(recorded, now)]
        return [self._recorded(recorded, now, altered)]

    def build(self, plan: Plan, progress: Progress) -> Plan:
        """Build it when the plan said so; the plan with what came of it."""
        if not self._wants_building or self._run.environment is None:
            return plan
        progress("building the recorded environment", 0, 1)
        lock = lock_of(self._run.environment, self._run.installed)
        try:
            built = self._ports.environments().build(lock, lambda: progress("building the recorded environment", 0, 1))
        except (LineageError, OSError) as error:
            reason = error.message if isinstance(error, LineageError) else str(error)
            row = self._not_had(self._run.environment, self._ports.environment.describe(), [f"it cannot be built: {reason}"])
        else:
            self._use(built.python, replace(self._ports, environment=built.probe))
            row = self._had(self._run.environment, built.differences, "just now")
        progress("building the recorded environment", 1, 1)
        return plan.model_copy(update={"ingredients": tuple(row if item.name == ENVIRONMENT else item for item in plan.ingredients)})

    def _current(self, recorded: Environment, now: Environment, before: Sequence[str] = ()) -> Ingredient:
        detail = [*before]
        if (recorded.implementation, recorded.python) != (now.implementation, now.python):
            detail.append(f"{_python(recorded)} → {_python(now)}: {python_change(recorded, now)}")
        changed = changed_packages(recorded, now)
        detail += [f"{package_change(recorded, now, name)}: {effect_of(name)}" for name in changed[:_PACKAGES_SHOWN]]
        if len(changed) > _PACKAGES_SHOWN:
            detail.append(f"{len(changed) - _PACKAGES_SHOWN} more packages differ")
        detail += self._altered_here()
        machine, weight = _machine(recorded, now)
        if detail:
            return _row("different", "warning", _short(recorded), _short(now), [*detail, *machine])
        if machine:
            return _row("different", weight, _short(recorded), _short(now), machine)
        return _row("ready", "none", _short(recorded), "same interpreter, packages and machine", [])

    def _recorded(self, recorded: Environment, now: Environment, altered: Sequence[str]) -> Ingredient:
        lock = lock_of(recorded, self._run.installed)
        try:
            builder = self._ports.environments()
            built = builder.find(lock)
            if built is not None:
                self._use(built.python, replace(self._ports, environment=built.probe))
                return self._had(recorded, built.differences, "before")
            told = builder.check(lock)
        except (LineageError, OSError) as error:
            return self._not_had(recorded, now, [error.message if isinstance(error, LineageError) else str(error)])
        if told.problems:
            return self._not_had(recorded, now, told.problems)
        self._wants_building = True
        how = "; what is not at hand is fetched" if told.downloads else ", from what is at hand"
        machine, weight = _machine(recorded, now)
        told_of = "".join(f"; {note}" for note in told.notes)
        return _row("ready", weight, _short(recorded), f"will be {_REBUILT}{how}{told_of}", machine)

    def _had(self, recorded: Environment, differences: Sequence[str], when: str) -> Ingredient:
        machine, weight = _machine(recorded, self._ports.environment.describe())
        found = f"{_REBUILT} from the record, {when}"
        lost = _not_kept(self._run)
        if differences or lost:
            return _row("different", "warning", _short(recorded), found, [*differences[:_PACKAGES_SHOWN], *lost, *machine])
        return _row("ready", weight, _short(recorded), f"{found}, the same packages file by file", machine)

    def _not_had(self, recorded: Environment, now: Environment, problems: Sequence[str]) -> Ingredient:
        shown = [*problems[:_PACKAGES_SHOWN], *([f"{len(problems) - _PACKAGES_SHOWN} more"] if len(problems) > _PACKAGES_SHOWN else [])]
        if self._mode == "recorded":
            return _row("missing", "blocker", _short(recorded), "cannot be rebuilt", shown)
        return self._current(recorded, now, [f"it cannot be rebuilt, so this one is used: {line}" for line in shown])

    def _use(self, python: Path, ports: Ports) -> None:
        self._wants_building = False
        self.interpreter = replace(self.interpreter, python=python)
        self.ports = ports

    def _altered_here(self) -> list[str]:
        """Files of this environment's packages that are not what was installed, beyond those that already were when the run was made."""
        installed = self._run.installed
        if installed is None or installed.altered is None:
            return []
        then = {item.path: item.digest for item in installed.altered}
        lines: list[str] = []
        try:
            known = loaded_paths(self._ports.objects, installed)
        except LineageError as error:
            known = []
            lines.append(f"which files of installed packages the run had loaded is not known, so they were not looked at: {error.message}")
        found = {item.path: item for item in self._ports.environment.altered(known=known)}
        lines += [
            f"{path} ({found[path].package or 'listed by no package'}) is not what was installed: {effect_of(found[path].package)}"
            for path in sorted(found.keys() - then.keys())
        ]
        for path, digest in sorted(then.items()):
            at = found.get(path)
            if at is None:
                lines.append(f"{path} had been altered when the run was made, and is not here: {effect_of(None)}")
            elif _digest(at.file) != digest:
                lines.append(f"{path} was altered then, and differently: {effect_of(at.package)}")
        return lines


def was_rebuilt(plan: Plan | None) -> bool:
    """Whether a plan's reproduction ran in an environment that was built for it."""
    return plan is not None and any(item.name == ENVIRONMENT and item.found.startswith(_REBUILT) for item in plan.ingredients)


def altered_between(original: Run, replica: Run) -> list[str]:
    """Files of installed packages that were altered for one of two runs and not for the other, or differently; one sentence each."""
    left, right = (
        {} if run.installed is None else {item.path: item for item in run.installed.altered or ()} for run in (original, replica)
    )
    if any(run.installed is None or run.installed.altered is None for run in (original, replica)):
        return []
    return [
        f"environment: {path} ({(left.get(path) or right[path]).package or 'listed by no package'}) was not what was installed "
        + ("in the first run" if path not in right else "in the second run" if path not in left else "in both, and differed")
        for path in sorted(left.keys() | right.keys())
        if path not in left or path not in right or left[path].digest != right[path].digest
    ]


def python_change(recorded: Environment, now: Environment) -> str:
    """What another interpreter can change."""
    if recorded.implementation != now.implementation or recorded.python.split(".")[:2] != now.python.split(".")[:2]:
        return "may change everything"
    return "a patch release: hashing and numbers stay, what it repaired may differ"


def effect_of(package: str | None) -> str:
    """What another version of a package can change, as far as its name tells."""
    if package is None:
        return "may change anything"
    if package.startswith(("torch", "nvidia-", "triton", "numpy", "scipy", "jax", "tensorflow", "mkl", "cupy")):
        return "computes: may change any number"
    if package.startswith(("pillow", "opencv", "albumentations", "imageio", "deeplake", "torchvision", "kornia", "turbojpeg")):
        return "reads or transforms pictures: may change batches"
    return "may change what it is used for"


def _machine(recorded: Environment, now: Environment) -> tuple[list[str], Severity]:
    """What of the machine differs and what that can change, in words; and how much it weighs."""
    lines: list[str] = []
    weight: Severity = "none"
    for line in machine_changes(recorded, now):
        effect, heavy = _MACHINE.get(line.partition(":")[0], ("may change numbers", False))
        lines.append(f"{line}: {effect}")
        weight = "warning" if heavy or weight == "warning" else "note"
    return lines, weight


def _not_kept(run: Run) -> list[str]:
    reasons = {} if run.installed is None else run.installed.not_kept
    return [f"{name} is not kept: {reason}" for name, reason in sorted(reasons.items())]


def editable_folders(run: Run) -> tuple[str, ...]:
    """Folders of the repository, relative to its top, that editable packages in it put on the module path."""
    if run.environment is None or run.code is None:
        return ()
    found = [
        os.path.relpath(folder, run.code.root)
        for source in run.environment.sources.values()
        for folder in source.folders
        if Path(folder).is_relative_to(run.code.root)
    ]
    return tuple(dict.fromkeys(found))


def _digest(file: Path) -> str:
    from lineage.model.digest import digest_of_file

    return digest_of_file(file)


def _row(
    status: Literal["ready", "missing", "different"],
    severity: Literal["none", "note", "warning", "blocker"],
    recorded: str,
    found: str,
    detail: Sequence[str],
) -> Ingredient:
    return Ingredient(name=ENVIRONMENT, status=status, severity=severity, recorded=recorded, found=found, detail=tuple(detail))


def _python(environment: Environment) -> str:
    return f"{environment.implementation} {environment.python}"


def _short(environment: Environment) -> str:
    return f"{_python(environment)}, {len(environment.packages)} packages"
