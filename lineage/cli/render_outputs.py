"""A run's outputs for people: what there are many of in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.model.comparison import Change
from lineage.model.run import Artifact, Run
from lineage.model.words import size_in_words

_LISTED = 3


def output_lines(outputs: Sequence[Artifact]) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line; models first, kinds with many files summed up."""
    kinds = list(dict.fromkeys(item.kind for item in outputs))
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
    """The same comparison, with outputs that are equal in one line when they are many."""
    equal = [change for change in changes if change.same and change.subject.startswith("output ")]
    if len(equal) <= _LISTED:
        yield from changes
        return
    count = f"{len(equal)} files"
    for change in changes:
        if change is equal[0]:
            yield change.model_copy(update={"subject": "outputs", "original": count, "replica": count})
        elif change not in equal:
            yield change
