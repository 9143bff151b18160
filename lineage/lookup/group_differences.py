"""What differs between many runs at once: every ingredient that is not the same in all of them, with the runs that have each value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from lineage.lookup.diff import code_in_short, dotted, used_files
from lineage.lookup.diff_causes import shown
from lineage.lookup.environments import FIRST_PACKAGES
from lineage.lookup.seed_words import with_seed
from lineage.model.difference import Subject
from lineage.model.environment import Environment
from lineage.model.group import BetweenGroups, GroupDifference, GroupsCompared, Variant, Variation
from lineage.model.run import Run

_SUBJECTS: tuple[Subject, ...] = get_args(Subject)
_NAMED = 6


class _Fact(NamedTuple):
    """A value to compare by, and to show."""

    key: str
    words: str


_Facts = Mapping[tuple[Subject, str], _Fact]


def differences(runs: Sequence[Run]) -> GroupDifference:
    """What differs between runs, in the order in which it usually decides: data, code, configuration, seed, weights, environment, machine.

    Fields of the configuration that are the seed in every run, and the seed in the command line, count as the seed.
    """
    variations = tuple(_variations(runs))
    deciding = [item for item in variations if item.decides]
    is_seed_only = [item.subject for item in deciding] == ["seed"]
    return GroupDifference(sentence=_sentence(runs, variations), is_seed_only=is_seed_only, variations=variations)


def between(groups: Mapping[str, Sequence[Run]]) -> GroupsCompared:
    """What differs between groups of runs: the values that the runs of one have are not those of another.

    Args:
        groups: Name to runs.
    """
    group_of = {run.id: name for name, runs in groups.items() for run in runs}
    found: list[BetweenGroups] = []
    for item in _variations([run for runs in groups.values() for run in runs]):
        values = {name: tuple(part.value for part in item.variants if any(group_of[run] == name for run in part.runs)) for name in groups}
        if len({frozenset(told) for told in values.values()}) > 1:
            found.append(BetweenGroups(subject=item.subject, name=item.name, title=item.title, values=values, decides=item.decides))
    return GroupsCompared(sentence=_in_words(f"these {len(groups)} groups differ", found), variations=tuple(found))


def _variations(runs: Sequence[Run]) -> Iterator[Variation]:
    if len(runs) < 2:
        return
    is_seed = _seed_fields(runs)
    environments: dict[str, _Facts] = {}
    facts: list[_Facts] = []
    for run in runs:
        facts.append({**_data(run), **_code(run), **_configuration(run, is_seed), **_files(run), **_environment(run, environments)})
    names = dict.fromkeys(name for item in facts for name in item)
    found = [(name, [item.get(name, _Fact("", "absent")) for item in facts]) for name in names]
    for (subject, name), values in sorted(found, key=lambda item: _order(*item[0])):
        if any(value.key != values[0].key for value in values):
            yield Variation(subject=subject, name=name, variants=_variants(runs, values), decides=subject != "machine")


def _order(subject: Subject, name: str) -> tuple[Any, ...]:
    first = FIRST_PACKAGES.index(name) if subject == "environment" and name in FIRST_PACKAGES else len(FIRST_PACKAGES)
    return _SUBJECTS.index(subject), first, name


def _variants(runs: Sequence[Run], values: Sequence[_Fact]) -> tuple[Variant, ...]:
    parts: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for run, value in zip(runs, values, strict=True):
        parts.setdefault(value.key, []).append(run.id)
        words[value.key] = value.words
    is_plain = len(set(words.values())) == len(words)
    told = words if is_plain else {key: f"{text} [{key[-12:]}]" for key, text in words.items()}  # the same name, another content
    ordered = sorted(parts.items(), key=lambda item: (-len(item[1]), _by_size(told[item[0]])))
    return tuple(Variant(value=told[key], runs=tuple(ids)) for key, ids in ordered)


def _by_size(words: str) -> tuple[int, float, str]:
    """Numbers before words, and by what they are: 9 before 10."""
    try:
        return 0, float(words), words
    except ValueError:
        return 1, 0.0, words


def _sentence(runs: Sequence[Run], variations: Sequence[Variation]) -> str:
    if len(runs) < 2:
        return "one run: there is nothing that could differ" if runs else "no run counts"
    return _in_words(f"these {len(runs)} runs differ", variations)


def _in_words(these: str, variations: Sequence[Variation] | Sequence[BetweenGroups]) -> str:
    deciding = [item for item in variations if item.decides]
    machine = " (and the machine, which should not decide)" if len(deciding) < len(variations) else ""
    if not deciding:
        return f"{these} in nothing that was recorded" + (" but the machine, which should not decide" if machine else "")
    if [item.subject for item in deciding] == ["seed"]:
        return f"{these} only in the seed{machine}"
    titles = [item.title for item in deciding[:_NAMED]]
    more = [f"{len(deciding) - _NAMED} more"] if len(deciding) > _NAMED else []
    listed = [*titles, *more]
    joined = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    return f"{these} in {joined}{machine}"


def _seed_fields(runs: Sequence[Run]) -> Callable[[str], bool]:
    """Tells which fields of the configuration are the seed in every run."""
    configurations = [dotted(run.config, "config.") for run in runs]

    def is_seed(name: str) -> bool:
        return all(
            run.seed is not None and type(found.get(name)) is int and found[name] == run.seed
            for run, found in zip(runs, configurations, strict=True)
        )

    names = {name for name in configurations[0] if is_seed(name)} if configurations else set()
    return names.__contains__


def _data(run: Run) -> _Facts:
    facts: dict[tuple[Subject, str], _Fact] = {}
    for role, items in run.inputs_by_role().items():
        for number, item in enumerate(items, 1):
            name = role if number == 1 else f"{role} {number}"
            words = f"{item.rows} rows of {item.uri.rstrip('/').rpartition('/')[2]} at {item.commit_id}"
            facts["data", name] = _Fact(item.content_digest, words)
    return facts


def _code(run: Run) -> _Facts:
    facts: dict[tuple[Subject, str], _Fact] = {}
    if run.code is not None:
        facts["code", "code"] = _Fact(run.code.content, code_in_short(run.code) or "")
    if run.loaded is not None:
        for path, digest in dict(run.loaded.files).items():
            facts["code", path] = _Fact(digest, digest[:19])
    return facts


def _configuration(run: Run, is_seed: Callable[[str], bool]) -> _Facts:
    values = {name: value for name, value in dotted(run.config, "config.").items() if not is_seed(name)}
    values |= dotted(run.determinism, "determinism.")
    values |= {
        "command": " ".join(run.command if run.seed is None else with_seed(run, "SEED")),
        "working directory": run.working_directory if run.code else "",
    }
    values |= {} if run.dvc is None else run.dvc.facts()
    facts: dict[tuple[Subject, str], _Fact] = {("configuration", name): _told(value) for name, value in values.items()}
    return facts | {("seed", "seed"): _Fact(str(run.seed), "not fixed" if run.seed is None else str(run.seed))}


def _files(run: Run) -> _Facts:
    weights, read = used_files(run)
    facts: dict[tuple[Subject, str], _Fact] = {("base weights", name): _Fact(digest, digest[:19]) for name, digest in weights.items()}
    return facts | {("files read", name): _Fact(digest, digest[:19]) for name, digest in read.items()}


def _environment(run: Run, known: dict[str, _Facts]) -> _Facts:
    if run.environment is None:
        return {}
    if run.environment.digest not in known:
        known[run.environment.digest] = _environment_facts(run.environment)
    return known[run.environment.digest]


def _environment_facts(found: Environment) -> _Facts:
    facts: dict[tuple[Subject, str], _Fact] = {("environment", "interpreter"): _told(f"{found.implementation} {found.python}")}
    for name, package in found.packages.items():
        # Code of an editable one counts with the code.
        key = "editable" if package.editable else package.model_dump_json()
        facts["environment", name] = _Fact(key, package.version)
    facts |= {("environment", f"variable {name}"): _told(value) for name, value in found.variables.items()}
    machine = {
        "processor": found.cpu,
        "processors": found.cpu_count,
        "GPUs": ", ".join(found.gpus) or "none",
        "GPU driver": found.gpu_driver,
        "C library": found.libc,
        "platform": found.platform,
    }
    return facts | {("machine", name): _told(value) for name, value in machine.items() if value}


def _told(value: Any) -> _Fact:
    return _Fact(f"{type(value).__name__} {json.dumps(value, sort_keys=True, default=str)}", shown(value))
