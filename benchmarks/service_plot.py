"""The figures of ``service_lookups.py`` as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_COLOURS = {
    "ours sqlite": "#08519c",
    "ours postgresql": "#3182bd",
    "ours postgresql x": "#9ecae1",
    "mlflow sqlite": "#d95f02",
    "mlflow postgresql": "#fdae6b",
}
"""By how the name of a server begins; the longest one counts."""


def plot(result: dict[str, Any], file: Path) -> None:
    """Times of one client (a bar to the median, a line to the 99th percentile) and requests a second of the most clients."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    asked: dict[str, Any] = dict(reversed(result["asked"].items()))
    counts = sorted({int(count) for by_server in asked.values() for by_count in by_server.values() for count in by_count})
    few, many = str(counts[0]), str(counts[-1])
    figure, (times, rates) = plt.subplots(1, 2, figsize=(13, 0.75 * len(asked) + 1.5), layout="constrained", sharey=True)
    servers = [*dict.fromkeys(server for by_server in asked.values() for server in by_server)]
    height = 0.8 / len(servers)
    for number, server in enumerate(sorted(servers, key=lambda name: [*_COLOURS].index(_known(name)))):
        colour = _COLOURS[_known(server)]
        places = [(place, by_server[server]) for place, by_server in enumerate(asked.values()) if server in by_server]
        at = [place + 0.4 - (number + 0.5) * height for place, _ in places]
        p50 = [found[few]["p50_ms"] for _, found in places]
        times.barh(at, p50, height, color=colour, label=server.replace("mlflow", "MLflow"))
        times.hlines(at, p50, [found[few]["p99_ms"] for _, found in places], color=colour, linewidth=1.5)
        rates.barh(at, [found[many]["per_s"] for _, found in places], height, color=colour)
    times.axvline(10, color="black", linestyle=":", linewidth=1, label="budget of ours, 99th percentile")
    noun = "client" if few == "1" else "clients"
    times.set(xscale="log", xlabel=f"ms, {few} {noun}: bar to the median, line to the 99th percentile")
    rates.set(xscale="log", xlabel=f"answers a second, {many} clients")
    times.set_yticks(range(len(asked)), [*asked])
    figure.suptitle(f"Look-ups over HTTP, {result['runs']:,} runs, {result['cores']} cores shared by clients, services and databases")
    for axes in (times, rates):
        axes.grid(True, axis="x", which="major", alpha=0.3)
        axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=5, fontsize="small")
    figure.savefig(file, dpi=90)


def _known(server: str) -> str:
    return max((name for name in _COLOURS if server.startswith(name)), key=len)
