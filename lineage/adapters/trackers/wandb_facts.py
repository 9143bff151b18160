"""What can be said of a past W&B run, wherever it was read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lineage.model.run import MetricPoint
from lineage.ports import ForeignFile, ForeignMedia

_ID = re.compile(r"[0-9a-f]{32}")


def points_of(history: Sequence[tuple[int, Mapping[str, Any]]], taken: Set[str] = frozenset()) -> tuple[list[MetricPoint], list[str]]:
    """The numbers of a history as metric points, and a sentence about what else was in it, but for names that were ``taken`` over."""
    points: list[MetricPoint] = []
    others: set[str] = set()
    for step, values in history:
        numbers = numbers_of(values, others)
        at = values.get("_timestamp")
        if numbers:
            points.append(MetricPoint(step=step, values=numbers, at=float(at) if isinstance(at, int | float) else 0.0))
    names = sorted(others - taken)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return points, [f"logged, but no numbers and so not taken over: {', '.join(names[:5])}{more}"] if names else []


def media_of(history: Sequence[tuple[int, Mapping[str, Any]]], folder: Path) -> list[ForeignMedia]:
    """Pictures, whose files are in the folder, and histograms of a history."""
    found: list[ForeignMedia] = []
    for step, values in history:
        for name, value in _flat(values):
            if not isinstance(value, Mapping):
                continue
            if value.get("_type") == "histogram" and isinstance(value.get("values"), list) and isinstance(value.get("bins"), list):
                found.append(ForeignMedia(name, step, histogram=(value["values"], value["bins"])))
            elif value.get("_type") in ("image-file", "images/separated") and (pictures := _pictures(value, folder)):
                found.append(ForeignMedia(name, step, pictures))
    return found


def _pictures(value: Mapping[str, Any], folder: Path) -> list[tuple[Path, str | None]]:
    names, captions = (value.get("filenames"), value.get("captions")) if value["_type"] != "image-file" else ([value.get("path")], None)
    told = captions if isinstance(captions, list) else [value.get("caption")]
    found: list[tuple[Path, str | None]] = []
    for number, name in enumerate(names if isinstance(names, list) else ()):
        file = (folder / name).resolve() if isinstance(name, str) else folder
        if file.is_file() and file.is_relative_to(folder.resolve()):  # a log from elsewhere may name any file
            caption = told[number] if number < len(told) else None
            found.append((file, caption if isinstance(caption, str) else None))
    return found


def numbers_of(values: Mapping[str, Any], others: set[str] | None = None) -> dict[str, float]:
    """The numbers among logged values; nested ones under names with dots. W&B's own, which begin with ``_``, are left out."""
    found: dict[str, float] = {}
    for name, value in _flat(values):
        number = _number(value)
        if number is not None:
            found[name] = number
        elif others is not None and value is not None:
            others.add(name)
    return found


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if above or not name.startswith("_"):
            if isinstance(value, Mapping) and "_type" not in value:
                yield from _flat(value, f"{above}{name}.")
            else:
                yield f"{above}{name}", value


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) if isinstance(value, str) else None


def packages_of(text: str) -> dict[str, str]:
    """Name to version, from lines of the form ``name==version``; other lines say nothing that could be built."""
    return {name: version for name, equals, version in (line.strip().partition("==") for line in text.splitlines()) if equals and name}


def recorded_as(config: Mapping[str, Any]) -> str | None:
    """The record that this layer made of the run when it ran, as its configuration in W&B says."""
    nested = config.get("lineage")
    for found in (config.get("lineage_run_id"), nested.get("run_id") if isinstance(nested, Mapping) else None):
        if isinstance(found, str) and _ID.fullmatch(found):
            return found
    return None


def missing_of(
    facts: Mapping[str, Any], packages: Mapping[str, str], used: Sequence[ForeignFile], config: Mapping[str, Any], *, has_command: bool
) -> list[str]:
    """What a reproduction would need and W&B does not keep, one sentence each."""
    commit, remote = facts.get("git_commit"), facts.get("git_remote")
    named = f"git commit {commit[:12]}{f' of {remote}' if remote else ''} is named" if commit else "no git commit is named"
    lacking = [f"code: {named}; files that were changed, untracked or in no repository are not kept"]
    inputs = ", ".join(item.name for item in used) or ", ".join(
        str(item.get("Dataset")) for item in config.get("input_datasets") or () if isinstance(item, Mapping)
    )
    lacking.append(
        f"data: {f'{inputs}: named, but' if inputs else 'no dataset is named:'} which rows were read, and their content, is not known"
    )
    what = f"{len(packages)} packages are known by version alone" if packages else "no package is known"
    lacking.append(f"environment: {what}; where they came from and what their files were is not")
    lacking.append("settings: environment variables, thread counts and determinism settings are not known")
    lacking.append(
        "seed: the configuration has one, but not what was seeded with it"
        if "seed" in config
        else "seed: what random numbers began with is not known"
    )
    if not has_command:
        lacking.append("command: no command is named")
    return lacking
