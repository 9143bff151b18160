"""Metrics in lines that a program prints. A line is read only where it plainly names numbers; everything else is left alone.

The grammar, also in ``docs/run.md``:

- ``name=number``, ``name: number``, and ``name number`` where the name is one of a metric (``loss 0.5``). A word such as ``train``
  or ``val`` before the name belongs to it: ``Train Loss: 0.5`` is ``train_loss``;
- a mapping alone on its line, as JSON or as Python prints it;
- a line counts when it names a step (``step``, ``iteration``, ``batch``, ``epoch``) or when one of its names is that of a metric;
- a progress bar counts when it is full;
- never: numbers under names of times, speeds, sizes and counts; numbers with a unit; fractions such as ``9905/10000``; parts of paths,
  dates, versions and addresses.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LONGEST = 1000
_MOST_NAMES = 64

_DIGIT = re.compile(r"[0-9]|nan|inf", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
_NUMBER = r"[-+]?(?:\d{1,18}(?:\.\d{0,24})?|\.\d{1,24})(?:[eE][-+]?\d{1,3})?|[-+]?(?:nan|inf)\b"
_PAIR = re.compile(
    rf"(?<![\w./@%-])(?P<name>[A-Za-z_][\w./@-]{{0,63}})(?P<between>\"?\s{{0,3}}[=:]\s{{0,8}}|\s{{1,8}})(?P<number>{_NUMBER})(?P<percent>\s?%)?"
    r"(?=\.?(?:$|[\s,;|)\]}>\"']))",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"(?<![A-Za-z])(?P<name>global[ _]?step|step|iteration|iter|it|batch|epoch|ep)[ \t=:#\[(]{0,5}(?P<number>\d{1,15})(?![\d.]*\d*[.\w%])",
    re.IGNORECASE,
)
_BAR = re.compile(r"(?P<percent>\d{1,3})%\s?\|")
_COUNTED_BAR = re.compile(r"^\s*(?P<done>\d{1,12})/(?P<all>\d{1,12})\s.{0,8}[\[━=]")
_METRIC = re.compile(
    r"(?:^|[_/.\-])(?:\w{0,8}loss(?:es)?|acc(?:uracy)?|f1|f1_?score|auc|auroc|map(?:_?\d{2})?|map50-95|ap(?:_?\d{2})?|m?iou|dice|precision|recall|"
    r"err(?:or)?|mse|mae|rmse|psnr|ssim|bleu|perplexity|ppl|score|reward|return|top_?[15]|kl|nll|elbo|fid|r2|wer|cer|bpb|rouge\w?)(?:$|[_/.@\-\d])",
    re.IGNORECASE,
)
_RATE = re.compile(r"(?:^|_)(?:lr|learning_rate)(?:$|_|\d)", re.IGNORECASE)
_ORDINARY = re.compile(r"err(?:or)?|score|return|reward|map|recall|precision", re.IGNORECASE)  # "error 404" is no metric
_NEVER = re.compile(
    r"(?:^|[_/.\-])(?:time|times|eta|elapsed|remaining|sec|secs|seconds?|ms|min|mins|minutes?|hours?|duration|latency|runtime|date|fps|speed|"
    r"throughput|per_second|per_sec|rate_s|mem|memory|gpu|cpu|ram|size|bytes|[kmg]i?b|port|pid|seed|version|v|v_num|rank|local_rank|world_size|device|"
    r"workers?|num|n|count|total|epochs?|steps?|iter|iters|iterations?|batch|batches|ep|it|global_step|line|id|gpus|params|parameters|"
    r"samples|images|tokens|examples|items|flops|gflops|macs)(?:$|[_/.@\-\d])|_per_|\.(?:py|txt|json|yaml|yml|csv|pt|pth)$",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\s?(?:s|sec|secs|seconds?|ms|us|µs|ns|min|mins|minutes?|h|hrs?|hours?|days?|[kmgt]i?b(?:/s)?|bytes|it/s|s/it|[a-z]{1,12}/s(?:ec|tep)?|hz|fps)"
    r"(?![A-Za-z=:])",
    re.IGNORECASE,
)
_BELONGS = frozenset(
    {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "evaluation", "dev", "mean", "avg", "average", "best"}
    | {"running", "total", "final", "box", "cls", "class", "obj", "dfl", "giou", "mask", "rpn", "roi", "top", "ema", "smooth"}
)
_STEPS = ("global_step", "step", "iteration", "iter", "it", "batch", "epoch", "ep")
_EPOCHS = ("epoch", "ep")


@dataclass(frozen=True, slots=True)
class PrintedPoint:
    """Numbers of one line.

    Attributes:
        values: By name.
        step: The step that the line names; ``None`` when it names none.
    """

    values: dict[str, float]
    step: int | None


def parse_line(line: str) -> PrintedPoint | None:
    """The metrics in a line; ``None`` when there are none. Never raises, and takes time in proportion to the line's length.

    Args:
        line: Without its end. One of more than 1,000 characters is left alone.
    """
    if len(line) > _LONGEST or _DIGIT.search(line) is None:
        return None
    text = _COLOUR.sub("", line).strip()
    if text.startswith("{") and text.endswith("}"):
        return _of_mapping(text)
    if not _is_complete(text):
        return None
    values = dict(_pairs(text))
    step = _step(text)
    if not values or (step is None and not any(_METRIC.search(name) for name in values)):
        return None
    return PrintedPoint(values, step)


def _is_complete(text: str) -> bool:
    bar = _BAR.search(text)
    if bar is not None:
        return bar["percent"] == "100"
    counted = _COUNTED_BAR.match(text)
    return counted is None or counted["done"] == counted["all"]


def _step(text: str) -> int | None:
    found: dict[str, int] = {}
    for match in _STEP.finditer(text):
        found.setdefault(re.sub(r"[ _]", "_", match["name"].lower()).replace("globalstep", "global_step"), int(match["number"]))
    return next((found[name] for name in _STEPS if name in found), None)


def _pairs(text: str) -> Iterator[tuple[str, float]]:
    for number, match in enumerate(_PAIR.finditer(text)):
        if number == _MOST_NAMES:
            return
        name, between = match["name"], match["between"]
        is_metric = _METRIC.search(name) is not None or _RATE.search(name) is not None
        if _NEVER.search(name) is not None or (match["percent"] is None and _UNIT.match(text, match.end()) is not None):
            continue
        if between.isspace() and _ORDINARY.fullmatch(name):
            continue
        if not is_metric and (between.isspace() or (":" in between and not between.endswith((" ", "\t")))):
            continue
        yield _whole_name(text, match.start(), name), float(match["number"])


def _whole_name(text: str, start: int, name: str) -> str:
    words = [name]
    before = re.split(r"\s", text[max(0, start - 40) : start].rstrip(" "))
    if text[start - 1 : start] == " ":
        while before and before[-1].lower() in _BELONGS and len(words) < 3:
            words.insert(0, before.pop())
    return "_".join(words).lower() if len(words) > 1 or name[:1].isupper() else name


def _of_mapping(text: str) -> PrintedPoint | None:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
    if not isinstance(found, dict):
        return None
    named = {name: value for name, value in list(found.items())[:_MOST_NAMES] if isinstance(name, str) and isinstance(value, int | float)}
    numbers = {name: number for name, value in named.items() if not isinstance(value, bool) and (number := _of_any(value)) is not None}
    lower = {name.lower(): value for name, value in numbers.items()}
    step = next((lower[name] for name in _STEPS if name in lower), None)
    values = {name: value for name, value in numbers.items() if _NEVER.search(name) is None and len(name) <= 64}
    if not values or (step is None and not any(_METRIC.search(name) for name in values)):
        return None
    is_whole = step is not None and math.isfinite(step) and step == int(step) and abs(step) < 2**53
    return PrintedPoint(values, int(step) if is_whole and step is not None else None)


def _of_any(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
