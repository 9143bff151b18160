"""What differs between two recorded environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lineage.model.environment import Environment

if TYPE_CHECKING:
    from lineage.model.difference import EnvironmentDifference, ValueChange

FIRST_PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "opencv-python",
    "pillow",
    "deeplake",
)
"""Packages that compute or decode: a change in them changes numbers more often than one elsewhere."""


def compare_environments(a: Environment | None, b: Environment | None) -> EnvironmentDifference:
    """Interpreter, packages, variables and machine, as far as they differ; packages that compute first."""
    from lineage.model.difference import EnvironmentDifference, ValueChange  # a plan needs the names of packages only

    if a is None or b is None:
        return EnvironmentDifference(is_recorded=False)
    interpreter = None
    if (a.implementation, a.python) != (b.implementation, b.python):
        interpreter = ValueChange(name="interpreter", a=f"{a.implementation} {a.python}", b=f"{b.implementation} {b.python}")
    return EnvironmentDifference(
        interpreter=interpreter,
        packages=tuple(_version_change(a, b, name) for name in changed_packages(a, b)),
        variables=tuple(
            ValueChange(name=name, a=a.variables.get(name), b=b.variables.get(name))
            for name in sorted(a.variables.keys() | b.variables.keys())
            if a.variables.get(name) != b.variables.get(name)
        ),
        machine=tuple(
            ValueChange(name=name, a=left, b=right)
            for name, left, right in (*_hardware(a, b), ("processors", a.cpu_count, b.cpu_count), ("platform", a.platform, b.platform))
            if left != right
        ),
    )


def changed_packages(a: Environment, b: Environment) -> list[str]:
    """Names of packages that differ; two editable installs do not: their code counts with the code."""
    names = [name for name in a.packages.keys() | b.packages.keys() if not _same_package(a, b, name)]
    return sorted(names, key=lambda name: (FIRST_PACKAGES.index(name) if name in FIRST_PACKAGES else len(FIRST_PACKAGES), name))


def package_change(a: Environment, b: Environment, name: str) -> str:
    """One differing package in words."""
    left, right = a.packages.get(name), b.packages.get(name)
    if left is not None and right is not None and left.version == right.version:
        return f"{name} {left.version}: other installed files"
    return f"{name} {'absent' if left is None else left.version} → {'absent' if right is None else right.version}"


def machine_changes(a: Environment, b: Environment) -> list[str]:
    """Processor, GPUs and C library that differ, in words."""
    return [f"{name}: {left} → {right}" for name, left, right in _hardware(a, b) if left != right]


def _hardware(a: Environment, b: Environment) -> tuple[tuple[str, str, str], ...]:
    return (
        ("processor", a.cpu, b.cpu),
        ("GPUs", ", ".join(a.gpus) or "none", ", ".join(b.gpus) or "none"),
        ("C library", a.libc, b.libc),
        # Records of earlier releases do not tell.
        *((("GPU driver", a.gpu_driver, b.gpu_driver),) if a.gpu_driver and b.gpu_driver else ()),
        *((("instruction sets", *_unlike(a, b)),) if a.cpu_features and b.cpu_features else ()),
    )


def _unlike(a: Environment, b: Environment) -> tuple[str, str]:
    left, right = set(a.cpu_features), set(b.cpu_features)
    return ", ".join(sorted(left - right)) or "no others", ", ".join(sorted(right - left)) or "no others"


def _same_package(a: Environment, b: Environment, name: str) -> bool:
    left, right = a.packages.get(name), b.packages.get(name)
    return left is not None and right is not None and (left == right or (left.editable and right.editable))


def _version_change(a: Environment, b: Environment, name: str) -> ValueChange:
    from lineage.model.difference import ValueChange

    left, right = a.packages.get(name), b.packages.get(name)
    return ValueChange(name=name, a=None if left is None else left.version, b=None if right is None else right.version)
