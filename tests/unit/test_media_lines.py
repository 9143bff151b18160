"""Media of a run in the terminal: what there are many of in few lines."""

from __future__ import annotations

from datetime import UTC, datetime

from lineage.cli.render_outputs import few_media, media_lines, output_lines, summed_up
from lineage.model.comparison import Change
from lineage.model.difference import ValueChange
from lineage.model.media import media_name
from lineage.model.run import Artifact, Run


def test_media_are_told_by_key_and_not_one_by_one() -> None:
    """A line for each name of media; of many that are equal, or that differ, one line, with the first that differs."""
    digest = f"sha256:{'0' * 64}"
    sheets = tuple(
        Artifact(
            name=media_name(key, step),
            kind="media",
            path="",
            digest=digest,
            size_bytes=1,
            details={"key": key, "step": step, "type": "pictures"},
        )
        for key, steps in (("b", 1), ("a", 5))
        for step in range(steps)
    )
    run = Run(id="0" * 32, name="", project="", job_type="", started_at=datetime.now(UTC), outputs=sheets)
    assert [text for _, text in media_lines(run)] == ["a (pictures) 5 times, steps 0 to 4", "b (pictures) at step 0"]
    assert list(output_lines(sheets)) == []
    changes = [Change(subject=f"output {item.name}", same=item.name == "media/b/0.json", original="x", replica="y") for item in sheets]
    told = list(summed_up([*changes, Change(subject="output model", same=False, original="x", replica="y")]))
    assert [(change.subject, change.original, change.same) for change in told] == [
        ("output media/b/0.json", "x", True),
        ("media", "5 sheets", False),
        ("output model", "x", False),
    ]
    assert told[1].detail == "the first that differs is media/a/0.json"
    values = [ValueChange(name=name, a=1, b=2) for name in ("model", *(item.name for item in sheets))]
    assert [change.name for change in few_media(values)] == ["model", "media/b/0.json", "media/a/0.json", "media/a/1.json"]
