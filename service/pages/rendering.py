"""Templates, and how values are written in them: no build step, nothing from another host, every recorded text escaped."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lineage.lookup.diff import dotted
from lineage.model.words import size_in_words
from service import charts

_TEMPLATES = Path(__file__).parents[1] / "templates"


def render(template: str, **values: Any) -> str:
    """HTML of a template."""
    return _templates().get_template(template).render(values)


def html(template: str, status: int = 200, **values: Any) -> Response:
    """A page that may be kept, but must be asked about."""
    return HTMLResponse(render(template, **values), status_code=status, headers={"Cache-Control": "no-cache"})


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "command": shlex.join,
        "duration": duration,
        "flat": flat,
        "number": lambda value: charts.number(value) if isinstance(value, float) else str(value),
        "percent": percent,
        "short": short,
        "size": size_in_words,
        "urlencoded": lambda values: urlencode(values, doseq=True),
        "when": when,
    }
    environment.globals |= {"version": version("dataset-lineage"), "frame": charts}
    return environment


def when(at: datetime) -> str:
    """A time for people, UTC; as it is where a record holds one that UTC has not."""
    try:
        return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return at.isoformat()


def duration(duration_s: float) -> str:
    """A duration for people: ``0.21 s``, ``4 min 02 s``, ``3 h 05 min``."""
    if duration_s < 60:
        return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {seconds:02} s"


def percent(part: int, whole: int) -> str:
    """A share for people, never rounded to all or nothing when it is neither."""
    if part in (0, whole):
        return "all" if part else "none"
    share = 100 * part / whole
    return f"{min(99.9, max(0.1, share)):.1f} %"


def flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A nested configuration as lines: dotted name and value; lists as JSON."""
    found = dotted(values).items()
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in found]


def short(value: Any) -> str:
    """Any recorded value in a few words, for a cell of a table: at most 80 signs."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    text = charts.number(value) if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
