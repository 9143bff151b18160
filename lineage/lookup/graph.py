"""Runs that start from what other runs made: a fine-tuned model has seen what its base model saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lineage.ports import ArtifactEdge, RowIndex


@dataclass(frozen=True, slots=True)
class Hop:
    """One step: run ``to_run_id`` started from a file that run ``from_run_id`` made."""

    from_run_id: str
    from_run_name: str
    name: str
    digest: str
    to_run_id: str
    to_run_name: str


@dataclass(frozen=True, slots=True)
class Relative:
    """A run reached through files, with one shortest way to it.

    Attributes:
        path: In the direction of time: the first hop leaves the older run.
    """

    run_id: str
    run_name: str
    path: tuple[Hop, ...]


def ancestors(index: RowIndex, run_id: str) -> list[Relative]:
    """Runs whose files this run started from, directly or through others, nearest first. Each is named once."""

    def older(frontier: Sequence[str]) -> list[tuple[ArtifactEdge, ArtifactEdge]]:
        used = index.used_by(frontier)
        made = index.makers(sorted({edge.digest for edge in used}))
        return [(maker, user) for user in used for maker in made if maker.digest == user.digest]

    return _reach(run_id, older, forward=False)


def descendants(index: RowIndex, run_ids: Sequence[str]) -> dict[str, list[Relative]]:
    """Runs that started from files of these runs, directly or through others, nearest first: run id to relatives."""
    import functools

    # Many runs are asked for at once (all that saw a picture); most of them share their successors.
    @functools.cache
    def one(run_id: str) -> tuple[tuple[ArtifactEdge, ArtifactEdge], ...]:
        made = index.made_by([run_id], replaced=True)  # the third epoch's weights may have been taken before the fourth's replaced them
        users = index.users(sorted({edge.digest for edge in made}))
        return tuple((maker, user) for maker in made for user in users if maker.digest == user.digest)

    all_made = index.made_by(run_ids, replaced=True)
    has_any = {edge.digest for edge in index.users(sorted({edge.digest for edge in all_made}))}
    starts = {edge.run_id for edge in all_made if edge.digest in has_any}

    def newer(frontier: Sequence[str]) -> list[tuple[ArtifactEdge, ArtifactEdge]]:
        return [pair for run_id in frontier for pair in one(run_id)]

    return {run_id: _reach(run_id, newer, forward=True) if run_id in starts else [] for run_id in run_ids}


def _reach(start: str, neighbours: Callable[[Sequence[str]], list[tuple[ArtifactEdge, ArtifactEdge]]], *, forward: bool) -> list[Relative]:
    found: dict[str, Relative] = {}
    frontier = [start]
    while frontier:
        next_frontier: list[str] = []
        for maker, user in neighbours(frontier):
            near, far = (maker, user) if forward else (user, maker)
            if far.run_id == start or far.run_id in found:
                continue
            hop = Hop(maker.run_id, maker.run_name, maker.name, maker.digest, user.run_id, user.run_name)
            known = found[near.run_id].path if near.run_id in found else ()
            found[far.run_id] = Relative(far.run_id, far.run_name, (*known, hop) if forward else (hop, *known))
            next_frontier.append(far.run_id)
        frontier = next_frontier
    return list(found.values())
