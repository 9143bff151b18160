"""What mattered in a sweep, and how the metric went over its trials, as markup; every recorded text is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from lineage.lookup.drawn_axis import Axis, axis
from lineage.lookup.sweep_drawing import Href, colour_of, is_wide, said, sentence_of
from lineage.model.sweep_findings import Correlation, Importance, ParameterImportance, SweepTrialView, SweepView

_WIDTH, _HEIGHT = 1180, 260
_LEFT, _RIGHT, _TOP, _BOTTOM, _WITHOUT = 76, 1160, 14, 196, 214
_BAR, _TALL = 150, 16
_BY_CATEGORY = '<span class="quiet">by category:</span>'


def draw_history(view: SweepView, href: Href) -> str | None:
    """The metric over the numbers of trials, with the best so far, as an ``svg`` element; ``None`` when no trial has a finite value."""
    finite = [item for item in view.trials if item.finite is not None]
    if not finite or view.metric is None:
        return None
    values = [item.finite or 0.0 for item in finite]
    y = axis(values, _BOTTOM, _TOP, is_log=is_wide(values))
    x = axis([item.number for item in view.trials], _LEFT + 12, _RIGHT - 12)
    words = f"{view.metric} over {len(view.trials)} trials, with the best so far"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="history" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        f' role="group" aria-label="{escape(words, quote=True)}">'
    ]
    for at, label in y.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{at:g}" y2="{at:g}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:g}" text-anchor="end">{escape(label)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{_WITHOUT + 10}" y2="{_WITHOUT + 10}"/>')
    for at, label in x.ticks():
        if "." not in label:  # there is no half trial
            parts.append(f'<line class="axis" x1="{at:g}" x2="{at:g}" y1="{_WITHOUT + 10}" y2="{_WITHOUT + 14}"/>')
            parts.append(f'<text x="{at:g}" y="{_WITHOUT + 28}" text-anchor="middle">{escape(label)}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2:g}" y="{_HEIGHT - 4}" text-anchor="middle">trial</text>')
    if line := _best_so_far(view, x, y):
        parts.append(f'<path class="so-far" d="{line}"><title>best so far</title></path>')
    colour = colour_of(view)
    parts += [_mark(view, item, x, y, colour(item), href(item.run_id)) for item in view.trials]
    return "\n".join([*parts, "</svg>"])


def _best_so_far(view: SweepView, x: Axis, y: Axis) -> str:
    path, best = "", None
    for item in view.trials:
        if item.state != "complete" or item.finite is None:
            continue
        if best is None:
            path = f"M{x.place(item.number):g} {y.place(item.finite):g}"
        elif (item.finite > best) is not (view.goal == "maximize") or item.finite == best:
            continue
        else:
            path += f"H{x.place(item.number):g}V{y.place(item.finite):g}"
        best = item.finite
    return f"{path}H{x.place(view.trials[-1].number):g}" if path else ""


def _mark(view: SweepView, item: SweepTrialView, x: Axis, y: Axis, colour: int | None, address: str | None) -> str:
    at = x.place(item.number)
    kind = "none" if colour is None else f"v{colour}"
    words = f"trial {kind} {item.state}{' best' if item.run_id == view.best else ''}"
    if item.finite is None:
        shape = f'<path class="cross" d="M{at - 4:g} {_WITHOUT - 4}l8 8m0 -8l-8 8"/>'
    else:
        shape = f'<circle class="dot" cx="{at:g}" cy="{y.place(item.finite):g}" r="{6 if item.run_id == view.best else 4}"/>'
    drawn = f"<title>{escape(sentence_of(view, item))}</title>{shape}"
    if address is None:
        return f'<g class="{words}">{drawn}</g>'
    return f'<a class="{words}" href="{escape(address, quote=True)}" tabindex="-1">{drawn}</a>'


def importance_table(found: Importance) -> str:
    """Importance and correlation beside one another, as a table of bars with their numbers."""
    rows = [row for item in found.parameters for row in _rows(item)]
    heads = (
        "Parameter",
        f'Importance <span class="quiet">random forest, {found.draws} draws: 80 % of them within the mark</span>',
        'fANOVA <span class="quiet">share of the variance</span>',
        'Correlation <span class="quiet">linear; of ranks</span>',
    )
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return f'<table class="bars plain"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _rows(item: ParameterImportance) -> Iterator[str]:
    numbers = [each for each in item.correlations if each.category is None]
    forest = item.forest
    yield (
        f'<tr><th scope="row">{escape(item.name)}</th>'
        f"<td>{_bar(forest.share, (forest.low, forest.high))}"
        f'<span class="value">{forest.share:.3f} <span class="quiet">{forest.low:.3f} to {forest.high:.3f}</span></span></td>'
        f'<td>{_bar(item.fanova, None)}<span class="value">{item.fanova:.3f}</span></td>'
        f"<td>{_signed(numbers[0]) if numbers else _BY_CATEGORY}</td></tr>"
    )
    for each in item.correlations:
        if each.category is not None:
            name = escape(said(each.category))
            yield f'<tr class="category"><th scope="row">= {name}</th><td></td><td></td><td>{_signed(each)}</td></tr>'


def _bar(share: float, between: tuple[float, float] | None) -> str:
    parts = [
        f'<rect class="trough" width="{_BAR}" height="{_TALL}"/>',
        f'<rect class="bar{"" if between else " other"}" x="{0 if between else 1}" y="{0 if between else 1}"'
        f' width="{max(0.0, min(1.0, share)) * (_BAR if between else _BAR - 2):.1f}" height="{_TALL if between else _TALL - 2}"/>',
    ]
    if between is not None:
        low, high = (min(1.0, max(0.0, value)) * (_BAR - 1.4) + 0.7 for value in between)
        middle = _TALL / 2
        parts.append(
            f'<path class="between" fill="none" d="M{low:.1f} 4v{_TALL - 8}M{low:.1f} {middle:g}H{high:.1f}M{high:.1f} 4v{_TALL - 8}"/>'
        )
    return _svg(parts)


def _signed(item: Correlation) -> str:
    """A bar from the middle, to the right for a positive one, with its sign."""
    if item.pearson is None:
        return '<span class="quiet">none: it does not vary</span>'
    zero, reach = _BAR / 2, abs(item.pearson) * _BAR / 2
    kind, left = ("up", zero) if item.pearson >= 0 else ("down", zero - reach)
    ranks = "" if item.spearman is None else f' <span class="quiet">ranks {_sign(item.spearman)}</span>'
    drawn = _svg(
        [
            f'<rect class="trough" width="{_BAR}" height="{_TALL}"/>',
            f'<rect class="{kind}" x="{left:.1f}" width="{reach:.1f}" height="{_TALL}"/>',
            f'<line class="zero" x1="{zero:g}" x2="{zero:g}" y1="0" y2="{_TALL}"/>',
        ]
    )
    return f'{drawn}<span class="value">{_sign(item.pearson)}{ranks}</span>'


def _sign(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\u2212")  # the sign of numbers, as wide as the plus


def _svg(parts: list[str]) -> str:
    return f'<svg width="{_BAR}" height="{_TALL}" viewBox="0 0 {_BAR} {_TALL}" aria-hidden="true">{"".join(parts)}</svg>'


def trials_table(view: SweepView, href: Href) -> str:
    """Every trial, best first, as a table with links."""
    parameters = [item.name for item in view.varying]
    heads = ["Trial", "Run", "State", view.metric or "Metric", "Took", *parameters]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(_trial(view, item, parameters, href(item.run_id)) for item in view.ranked())
    return f'<table class="trials"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _trial(view: SweepView, item: SweepTrialView, parameters: list[str], address: str | None) -> str:
    attempt = f' <span class="quiet">attempt {item.attempt}</span>' if item.attempt > 1 else ""
    name = f"<code>{item.run_id[:12]}</code>"
    run = name if address is None else f'<a href="{escape(address, quote=True)}">{name}</a>'
    state = "stopped early" if item.state == "stopped" else item.state
    badge = {"complete": "finished", "stopped": "queued"}.get(item.state, item.state)
    error = f' <span class="quiet">{escape(said(item.error))}</span>' if item.error else ""
    took = "" if item.duration_s is None else f"{item.duration_s:.1f} s"
    cells = [run, f'<span class="badge {badge}">{state}</span>{error}', escape(said(item.value)), took]
    cells += [escape(said(item.parameters[each])) if each in item.parameters else "–" for each in parameters]
    told = "".join(f'<td class="figures">{cell}</td>' for cell in cells)
    is_best = ' class="best"' if item.run_id == view.best else ""
    star = ' <span title="best">★</span>' if is_best else ""
    return f'<tr{is_best}><th scope="row">{item.number}{attempt}{star}</th>{told}</tr>'
