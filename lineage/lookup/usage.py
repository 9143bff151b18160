"""What a run's machine and processes used, from the samples in its record."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from lineage.model.metrics import is_sample
from lineage.model.run import MetricPoint


def usage_line(points: Sequence[MetricPoint]) -> str | None:
    """Means and peaks in one line, for people; ``None`` without samples.

    Args:
        points: The run's metric points, with those of the program.
    """
    samples = [point.values for point in points if is_sample(point)]
    if not samples:
        return None
    columns: dict[str, list[float]] = {}
    for values in samples:
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    told = []
    if memory := columns.get("system/process/memory_mib"):
        told.append(f"peak memory {max(memory):,.0f} MiB")
    if worked := columns.get("system/process/cpu"):
        told.append(f"mean CPU {fmean(worked):.0f} % of a core")
    told.append(f"mean CPU of the machine {fmean(columns['system/cpu']):.0f} %")
    told += [_gpu(number, columns) for number in gpu_numbers(columns)]
    return f"{', '.join(told)} ({len(samples)} samples)"


def gpu_numbers(names: Sequence[str] | dict[str, list[float]]) -> list[int]:
    """Numbers of the GPUs that some names of metrics tell of."""
    words = (name.split("/") for name in names)
    return sorted({int(word[2]) for word in words if word[:2] == ["system", "gpu"] and len(word) > 2 and word[2].isdecimal()})


def _gpu(number: int, columns: dict[str, list[float]]) -> str:
    name = f"system/gpu/{number}"
    mean = f" {fmean(columns[name]):.0f} % mean" if name in columns else ""
    peak = f", {max(columns[f'{name}/memory_mib']):,.0f} MiB peak" if f"{name}/memory_mib" in columns else ""
    return f"GPU {number}{mean}{peak}"
