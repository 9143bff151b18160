"""What was found, as text and as a picture."""

from __future__ import annotations

from html import escape
from typing import Any

_TIMED = {
    "sha256": "SHA-256 over the rows' bytes, in memory",
    "reading": "reading the columns, Deep Lake alone",
    "ours, first": "ours: open, read, digest, keep",
    "ours, again": "ours, the same version once more",
    "MLflow pandas": "MLflow pandas, from memory",
    "MLflow numpy": "MLflow numpy, from memory",
    "MLflow HF": "MLflow HF, from memory",
}


def wrong(case: dict[str, Any]) -> list[str]:
    """Methods that say something else than they should."""
    return [method for method, changed in case["changed"].items() if changed != case["should_change"]]


def print_table(result: dict[str, Any]) -> None:
    """One data set: cases, then times."""
    print(f"\n## {result['name']}: {result['rows']:,} rows ({'; '.join(result['versions'].values()) or 'no peer'})")
    if result["cases"]:
        _print_cases(result)
    took = result["times_s"]
    print(f"\nTime for {took['bytes'] / 1e6:.1f} MB, medians:\n")
    base = took["sha256"]
    rows = [
        [text, f"{1e3 * took[key]:.1f} ms", f"{1e6 * took[key] / result['rows']:.2f} µs", f"{took[key] / base:.2f} ×"]
        for key, text in _TIMED.items()
        if key in took
    ]
    _print([["what", "time", "a row", "over SHA-256"], *rows])


def _print_cases(result: dict[str, Any]) -> None:
    print()
    methods = result["methods"]
    lines = [["case", "should", *methods, "verdict"]]
    for case in result["cases"]:
        failed = wrong(case)
        said = [f"{'changes' if case['changed'][method] else 'stays'}{' ✗' if method in failed else ''}" for method in methods]
        kind = "misses" if case["should_change"] else "false alarm"
        verdict = f"{kind}: {', '.join(failed)}" if failed else "all right"
        lines.append([case["case"], "change" if case["should_change"] else "stay", *said, verdict])
    right = [f"{sum(method not in wrong(case) for case in result['cases'])} of {len(result['cases'])}" for method in methods]
    lines.append(["**right**", "", *right, ""])
    _print(lines)


def _print(lines: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def draw(results: list[dict[str, Any]]) -> str:
    """An SVG: a square for each case and method, filled where it says what it should, crossed where it does not."""
    methods = results[0]["methods"]
    left, step, high = 330, 96, 20
    parts: list[str] = []
    y = 10
    for result in (result for result in results if result["cases"]):
        y += 24
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{escape(result["name"])}, {result["rows"]:,} rows</text>')
        parts += [
            f'<text x="{left + step * i + step / 2:g}" y="{y}" text-anchor="middle" font-weight="bold">{escape(method)}</text>'
            for i, method in enumerate(methods)
        ]
        for case in result["cases"]:
            y += high
            parts.append(f'<text x="10" y="{y}">{escape(case["case"])}: must {"change" if case["should_change"] else "stay"}</text>')
            for i, method in enumerate(methods):
                is_wrong = method in wrong(case)
                colour, sign = ("#c0392b", "misses" if case["should_change"] else "false alarm") if is_wrong else ("#2e7d32", "right")
                x = left + step * i
                parts.append(f'<rect x="{x + 2}" y="{y - 14}" width="{step - 4}" height="{high - 2}" fill="{colour}" rx="2"/>')
                parts.append(f'<text x="{x + step / 2:g}" y="{y}" text-anchor="middle" fill="#fff">{sign}</text>')
        y += 10
    width, height = left + step * len(methods) + 10, y + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#fff"/>', *parts, "</svg>", ""])
