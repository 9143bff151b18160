"""Several segments of a run, together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lineage.model.comparison import Report, Verdict
from lineage.model.run import Run
from lineage.reproduce.segment import Segment

_WORST_FIRST = (Verdict.blocked, Verdict.diverged, Verdict.inconclusive, Verdict.equivalent, Verdict.identical)


def segments_in_words(run: Run, segments: Sequence[Segment | None], reports: Sequence[Report]) -> str:
    """How many of a run's segments were repeated, and which share of its steps that is."""
    word, share = _together(segments, reports)
    part = "an unknown share" if share is None else f"{share:.1%}"
    return f"segments: {len(reports)} of run {run.id[:12]}, {part} of its steps: {word}"


def segments_as_json(run: Run, segments: Sequence[Segment | None], reports: Sequence[Report]) -> dict[str, Any]:
    """The reports, with the verdict over all and the share of the run's steps that was repeated."""
    word, share = _together(segments, reports)
    found = [
        {"segment": None if segment is None else segment.number, "scope": None if segment is None else segment.scope}
        | {"report": report.model_dump(mode="json")}
        for segment, report in zip(segments, reports, strict=False)
    ]
    return {"run_id": run.id, "verdict": word, "share": share, "segments": found}


def _together(segments: Sequence[Segment | None], reports: Sequence[Report]) -> tuple[str, float | None]:
    verdicts = {report.verdict for report in reports}
    word = next((verdict.value for verdict in _WORST_FIRST if verdict in verdicts), "not run")
    judged = [
        segment.share
        for segment, report in zip(segments, reports, strict=False)
        if segment is not None and report.verdict not in (None, Verdict.blocked, Verdict.inconclusive)
    ]
    return word, None if None in judged else sum(share for share in judged if share is not None)
