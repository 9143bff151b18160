"""Why two results may differ: what differs in the inputs of two runs, likeliest cause first, each with its first example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.model.difference import (
    Cause,
    CodeDifference,
    DataDifference,
    EnvironmentDifference,
    Results,
    RowChange,
    Subject,
    ValueChange,
)

_LENGTH = 60


def likely_causes(
    data: Sequence[DataDifference],
    code: CodeDifference,
    configuration: Sequence[ValueChange],
    base_weights: Sequence[ValueChange],
    files_read: Sequence[ValueChange],
    environment: EnvironmentDifference,
    results: Results,
) -> tuple[Cause, ...]:
    """One sentence for each thing that differs, in the order in which they usually decide.

    Data, code, configuration and seed, base weights, files read, environment, machine. Where nothing that should decide differs and
    results do, that is said.
    """
    files = [*_files("base weights", "base weights", base_weights), *_files("files read", "file read", files_read)]
    causes = [*_data(data), *_code(code), *_configuration(configuration), *files, *_environment(environment)]
    if results.is_same is False and not any(cause.decides for cause in causes):
        machine = " but the machine" if causes else ""
        text = f"nondeterminism: nothing recorded differs{machine}, and the results do"
        causes.append(Cause(subject="nondeterminism", sentence=text, decides=False))
    return tuple(causes)


def row_name(change: RowChange) -> str:
    """What a row is called: its sample id, else its source row."""
    if change.sample_id is not None:
        return f"'{change.sample_id}'"
    return f"row {change.row_a if change.row_a is not None else change.row_b}"


def counts(item: DataDifference) -> list[str]:
    """What differs between two inputs, in words, the kinds that change content first."""
    found = [
        f"{number} {'row' if number == 1 else 'rows'} {what}"
        for number, what in (
            (item.relabelled, "relabelled"),
            (item.replaced, "with another picture"),
            (item.renamed, "renamed"),
            (item.added, "added"),
            (item.removed, "removed"),
        )
        if number
    ]
    if item.class_names:
        found.append(f"{len(item.class_names)} class {'name' if len(item.class_names) == 1 else 'names'} changed")
    if item.moved:
        found.append(f"{'' if item.moved_is_exact else 'up to '}{item.moved} {'row' if item.moved == 1 else 'rows'} in another place")
    return found


def shown(value: object) -> str:
    """A value in a sentence."""
    text = "absent" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"


def _data(data: Sequence[DataDifference]) -> Iterator[Cause]:
    for item in data:
        if item.is_same:
            continue
        one = item.b or item.a
        if item.a is None or item.b is None:
            which = "b" if item.a is None else "a"
            uri, rows = ("", 0) if one is None else (one.uri, one.rows)
            sentence = f"only {which} read this input: {rows} rows of {uri}"
        else:
            example = _example(item)
            sentence = ", ".join(counts(item)) + (f"; first {example}" if example else "")
        yield Cause(subject="data", sentence=f"data {item.role}: {sentence}")


def _example(item: DataDifference) -> str | None:
    if item.rows:
        first = item.rows[0]
        return f"{row_name(first)} {'with another picture' if first.kind == 'replaced' else first.kind}{_how(first)}"
    if item.class_names:
        change = item.class_names[0]
        return f"{change.name}: {shown(change.a)} → {shown(change.b)}"
    return None


def _how(row: RowChange) -> str:
    if row.new_sample_id is not None:
        return f" to '{row.new_sample_id}'"
    if row.objects:
        change = row.objects[0]
        more = f" and {len(row.objects) - 1} more" if len(row.objects) > 1 else ""
        if change.kind == "changed" and change.values:
            value = change.values[0]
            return f" ({value.name} {shown(value.a)} → {shown(value.b)}{more})"
        return f" ({change.class_a or change.class_b or 'box'} {change.kind}{more})"
    return f" (column '{row.columns[0].name}')" if row.columns else ""


def _code(code: CodeDifference) -> Iterator[Cause]:
    if code.is_same:
        return
    if code.a is None or code.b is None:
        which = "neither run" if code.a is None and code.b is None else "a" if code.a is None else "b"
        sentence = f"of {which} was not recorded" if which != "neither run" else "was not recorded"
        yield Cause(subject="code", sentence=f"code {sentence}: it may differ", decides=False)
        return
    if code.files:
        first = code.files[0]
        sentence = f"{len(code.files)} {'file' if len(code.files) == 1 else 'files'} changed; first {first.path} {first.status}"
    else:
        sentence = f"another snapshot, {code.a} → {code.b}"
    yield Cause(subject="code", sentence=f"code: {sentence}")


def _configuration(changes: Sequence[ValueChange]) -> Iterator[Cause]:
    keys = [change for change in changes if change.name != "seed"]
    if keys:
        first = keys[0]
        many = f"{len(keys)} values changed; first " if len(keys) > 1 else ""
        yield Cause(subject="configuration", sentence=f"configuration: {many}{first.name}: {shown(first.a)} → {shown(first.b)}")
    for change in changes:
        if change.name == "seed":
            seeds = ("not fixed" if seed is None else str(seed) for seed in (change.a, change.b))
            yield Cause(subject="seed", sentence=f"seed: {' → '.join(seeds)}")


def _files(subject: Subject, words: str, changes: Sequence[ValueChange]) -> Iterator[Cause]:
    if changes:
        first = changes[0]
        yield Cause(subject=subject, sentence=f"{words}: '{first.name}' is {shown(first.b)} in place of {shown(first.a)}")


def _environment(item: EnvironmentDifference) -> Iterator[Cause]:
    if not item.is_recorded:
        yield Cause(subject="environment", sentence="environment: not recorded by both runs, it may differ", decides=False)
        return
    parts: list[str] = []
    if item.interpreter is not None:
        parts.append(f"{item.interpreter.a} → {item.interpreter.b}")
    if item.packages:
        first = item.packages[0]
        change = f"{shown(first.a)} → {shown(first.b)}" if first.a != first.b else f"{first.a}, other installed files"
        many = f"{len(item.packages)} packages; first " if len(item.packages) > 1 else ""
        parts.append(f"{many}{first.name} {change}")
    parts += [f"variable {change.name}: {shown(change.a)} → {shown(change.b)}" for change in item.variables[:1]]
    if parts:
        yield Cause(subject="environment", sentence=f"environment: {', '.join(parts)}")
    if item.machine:
        first = item.machine[0]
        yield Cause(subject="machine", sentence=f"machine: {first.name} {shown(first.a)} → {shown(first.b)}", decides=False)
