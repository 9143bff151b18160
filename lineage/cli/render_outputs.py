"""A run's outputs for people: what there are many of in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.model.comparison import Change
from lineage.model.difference import ValueChange
from lineage.model.media import MEDIA, media_of
from lineage.model.run import Artifact, Run
from lineage.model.words import size_in_words

_LISTED = 3
_KEYS = 12


def output_lines(outputs: Sequence[Artifact]) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line; models first, kinds with many files summed up."""
    kinds = list(dict.fromkeys(item.kind for item in outputs if item.kind != MEDIA))
    for kind in sorted(kinds, key=lambda kind: kind != "model"):
        found = [item for item in outputs if item.kind == kind]
        if len(found) <= _LISTED:
            for item in found:
                yield "output", f"{item.name} ({item.kind}, {size_in_words(item.size_bytes)}) {item.digest}"
                yield "", item.path
                if "source_digest" in item.details:
                    facts = item.details
                    yield "", f"{facts['rows']} rows at commit {facts['commit_id']}, from {facts['source']} ({facts['importer']})"
                    yield "", f"{facts['source_file_count']} source files, listed in {facts['source_files']}"
        else:
            names = f"{found[0].name} … {found[-1].name}"
            yield "outputs", f"{len(found)} of kind {kind} ({size_in_words(sum(item.size_bytes for item in found))}): {names}"


def media_lines(item: Run) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line about its media, by key."""
    keys = media_of(item)
    for key, sheets in [*keys.items()][:_KEYS]:
        first, last = sheets[0].details["step"], sheets[-1].details["step"]
        steps = f"at step {first}" if len(sheets) == 1 else f"{len(sheets)} times, steps {first} to {last}"
        yield "media", f"{key} ({sheets[-1].details.get('type', 'of unknown type')}) {steps}"
    if len(keys) > _KEYS:
        yield "media", f"{len(keys) - _KEYS} more names; `lineage show --json` has them"


def file_lines(item: Run) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line about files that the run used, and about how its command was observed."""
    if len(item.uses) <= _LISTED:
        for used in item.uses:
            yield "file", f"{used.path} ({used.role}, {size_in_words(used.size_bytes)}) {used.digest}"
    else:
        names = f"{item.uses[0].path} … {item.uses[-1].path}"
        yield "files", f"{len(item.uses)} used ({size_in_words(sum(used.size_bytes for used in item.uses))}): {names}"
    if item.observed is not None and item.observed.read:
        names = ", ".join(item.observed.read[:_LISTED]) + (" …" if len(item.observed.read) > _LISTED else "")
        yield "files", f"{len(item.observed.read) + item.observed.read_more} read from the code's folder: {names}"


def summed_up(changes: Sequence[Change]) -> Iterator[Change]:
    """The same comparison, with outputs that are equal in one line when they are many, and with media that differ likewise."""
    equal = [change for change in changes if change.same and change.subject.startswith("output ")]
    media = [change for change in changes if not change.same and change.subject.startswith(f"output {MEDIA}/")]
    hidden = [group for group in (equal, media) if len(group) > _LISTED]
    for change in changes:
        group = next((group for group in hidden if change in group), None)
        if group is None:
            yield change
        elif change is group[0]:
            what, count = ("outputs", f"{len(equal)} files") if group is equal else ("media", f"{len(media)} sheets")
            detail = None if group is equal else f"the first that differs is {change.subject.removeprefix('output ')}"
            yield change.model_copy(update={"subject": what, "original": count, "replica": count, "detail": detail})


def few_media(changes: Sequence[ValueChange]) -> list[ValueChange]:
    """Outputs that differ, with the first three of media only: the others mostly differ for the same reason."""
    media = [change for change in changes if change.name.startswith(f"{MEDIA}/")]
    return [change for change in changes if change not in media[_LISTED:]]
