"""A row index before a service: rows are noted on this machine, look-ups ask both.

What a service numbers is its own: its spaces have a prefix here, so that rows of both are never taken for each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter

from lineage.adapters.stores.http_client import HttpClient
from lineage.model.transport import RowQuestion
from lineage.ports import (
    ArtifactEdge,
    DatasetName,
    KeyKind,
    KnownVersion,
    Link,
    LinkKind,
    RowIndex,
    RunName,
    Sighting,
    SweepName,
    VersionRead,
    ViewRead,
)

_THEIRS = "service/"
_PLACES: TypeAdapter[list[tuple[str, int]]] = TypeAdapter(list[tuple[str, int]])
_VIEWS: TypeAdapter[dict[str, list[int]]] = TypeAdapter(dict[str, list[int]])
_SIGHTINGS: TypeAdapter[list[Sighting]] = TypeAdapter(list[Sighting])
_EDGES: TypeAdapter[list[ArtifactEdge]] = TypeAdapter(list[ArtifactEdge])
_LINKS: TypeAdapter[list[Link]] = TypeAdapter(list[Link])
_RUN_NAMES: TypeAdapter[list[RunName]] = TypeAdapter(list[RunName])
_DATASETS: TypeAdapter[list[DatasetName]] = TypeAdapter(list[DatasetName])
_VERSIONS: TypeAdapter[list[VersionRead]] = TypeAdapter(list[VersionRead])
_VIEWS_READ: TypeAdapter[list[ViewRead]] = TypeAdapter(list[ViewRead])
_SWEEPS: TypeAdapter[list[SweepName]] = TypeAdapter(list[SweepName])
_IDS: TypeAdapter[list[str]] = TypeAdapter(list[str])
_THINGS = 1_000
_TEXT: TypeAdapter[str | None] = TypeAdapter(str | None)
T = TypeVar("T")


class SpoolingRowIndex:
    """See :class:`lineage.ports.RowIndex`. The service enters handed-over runs into its own index by itself.

    Args:
        local: On this machine.
        client: Of the service.
    """

    def __init__(self, local: RowIndex, client: HttpClient) -> None:
        self._local, self._client = local, client

    def _ask(self, question: str, form: TypeAdapter[T], **told: Any) -> T:
        body = RowQuestion(**told).model_dump_json().encode()
        return form.validate_json(self._client.send("POST", f"/api/v1/store/rows/{question}", body).body)

    # --- noted here -------------------------------------------------------------------------------------------------------

    def versions(self, uri: str, dataset_id: str, branch_id: str) -> list[KnownVersion]:
        return self._local.versions(uri, dataset_id, branch_id)

    def put_version(self, version: KnownVersion) -> None:
        self._local.put_version(version)

    def ledger(self, space: str) -> str | None:
        if space.startswith(_THEIRS):
            return self._ask("ledger", _TEXT, space=space.removeprefix(_THEIRS))
        return self._local.ledger(space)

    def put_ledger(self, space: str, expected: str | None, ledger: str) -> bool:
        return self._local.put_ledger(space, expected, ledger)

    def ledgers(self) -> list[tuple[str, str]]:
        return self._local.ledgers()

    def add_keys(self, space: str, kind: KeyKind, keys: Any, rows: Any) -> None:
        self._local.add_keys(space, kind, keys, rows)

    def add_view(self, key: str, space: str, rows: Any) -> None:
        self._local.add_view(key, space, rows)

    def has_view(self, key: str) -> bool:
        return self._local.has_view(key)

    def point_input(self, run_id: str, ordinal: int, key: str) -> None:
        self._local.point_input(run_id, ordinal, key)

    def put_archive(self, content_digest: str, listing: str) -> None:
        self._local.put_archive(content_digest, listing)

    def archives(self) -> list[tuple[str, str]]:
        return self._local.archives()

    def picture_hashes(self, method: str, keys: Sequence[int]) -> dict[int, int]:
        return self._local.picture_hashes(method, keys)

    def put_picture_hashes(self, method: str, hashes: Mapping[int, int]) -> None:
        self._local.put_picture_hashes(method, hashes)

    # --- asked of both ----------------------------------------------------------------------------------------------------

    def find_keys(self, kind: KeyKind, key: int) -> list[tuple[str, int]]:
        """Rows of the service's spaces, then those that are known here only."""
        theirs = self._ask("find_keys", _PLACES, kind=kind, key=key)
        ours = [place for place in self._local.find_keys(kind, key) if place not in set(theirs)]
        return [*((f"{_THEIRS}{space}", row) for space, row in theirs), *ours]

    def views_with(self, space: str, rows: Sequence[int]) -> dict[str, list[int]]:
        if space.startswith(_THEIRS):
            numbers = tuple(int(row) for row in rows)
            return self._ask("views_with", _VIEWS, space=space.removeprefix(_THEIRS), rows=numbers)
        return self._local.views_with(space, rows)

    def sightings(self, keys: Sequence[str]) -> list[Sighting]:
        """Of both, newest first, each input once; as it is here where it is here."""
        found = {(item.run_id, item.ordinal): item for item in self._ask("sightings", _SIGHTINGS, values=tuple(keys))}
        found |= {(item.run_id, item.ordinal): item for item in self._local.sightings(keys)}
        told = sorted(found.values(), key=lambda item: item.ordinal)
        return sorted(told, key=lambda item: (item.started_at, item.run_id), reverse=True)

    def unindexed_inputs(self) -> list[tuple[str, int]]:
        return sorted({*self._ask("unindexed_inputs", _PLACES), *self._local.unindexed_inputs()})

    def makers(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        return _newest_first(self._ask("makers", _EDGES, values=tuple(digests)), self._local.makers(digests))

    def users(self, digests: Sequence[str]) -> list[ArtifactEdge]:
        return _newest_first(self._ask("users", _EDGES, values=tuple(digests)), self._local.users(digests))

    def made_by(self, run_ids: Sequence[str], *, replaced: bool = False) -> list[ArtifactEdge]:
        theirs = self._ask("made_by", _EDGES, values=tuple(run_ids), replaced=replaced)
        return _newest_first(theirs, self._local.made_by(run_ids, replaced=replaced))

    def used_by(self, run_ids: Sequence[str]) -> list[ArtifactEdge]:
        return _newest_first(self._ask("used_by", _EDGES, values=tuple(run_ids)), self._local.used_by(run_ids))

    def links(self, kind: LinkKind, near: Sequence[tuple[str, ...]], *, forward: bool, most: int, skip: int = 0) -> list[Link]:
        """Of both, the service's first; what both know counts once."""
        theirs: list[Link] = []
        for start in range(0, len(near), _THINGS):
            things = tuple(near[start : start + _THINGS])
            part = self._ask("links", _LINKS, link=kind, things=things, forward=forward, most=most, skip=skip)
            theirs.extend(part)
        known = {(link.near, link.far, link.role): link for link in self._local.links(kind, near, forward=forward, most=most, skip=skip)}
        for link in theirs:
            known.pop((link.near, link.far, link.role), None)
        return [*theirs, *known.values()]

    def run_names(self, run_ids: Sequence[str]) -> list[RunName]:
        """Of both, each once; as it is here where it is here."""
        found = {item.run_id: item for item in self._ask("run_names", _RUN_NAMES, values=tuple(run_ids))}
        return list((found | {item.run_id: item for item in self._local.run_names(run_ids)}).values())

    def datasets(self, after: str, most: int) -> list[DatasetName]:
        """The service's: what is still on its way there is counted when it has arrived. So are the next four."""
        return self._ask("datasets", _DATASETS, space=after, most=most)

    def versions_read(self, dataset_id: str, most: int, skip: int = 0) -> list[VersionRead]:
        return self._ask("versions_read", _VERSIONS, values=(dataset_id,), most=most, skip=skip)

    def views_read(self, dataset_id: str, commit_id: str | None, most: int, skip: int = 0) -> list[ViewRead]:
        values = (dataset_id,) if commit_id is None else (dataset_id, commit_id)
        return self._ask("views_read", _VIEWS_READ, values=values, most=most, skip=skip)

    def uploads(self, dataset_id: str, commit_id: str | None, most: int) -> list[str]:
        values = (dataset_id,) if commit_id is None else (dataset_id, commit_id)
        return self._ask("uploads", _IDS, values=values, most=most)

    def sweeps(self, most: int, *, after: tuple[str, str] | None = None, prefix: str = "") -> list[SweepName]:
        return self._ask("sweeps", _SWEEPS, values=after or (), space=prefix, most=most)

    def archive(self, content_digest: str) -> str | None:
        return self._local.archive(content_digest) or self._ask("archive", _TEXT, values=(content_digest,))


def _newest_first(*parts: list[ArtifactEdge]) -> list[ArtifactEdge]:
    edges = sorted({edge for part in parts for edge in part}, key=lambda edge: (edge.name, edge.digest))
    return sorted(edges, key=lambda edge: (edge.started_at, edge.run_id), reverse=True)
