"""Where a result comes from and where it went, as nodes and edges."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field

from lineage.errors import UsageError

Direction = Literal["both", "up", "down"]
"""``up``: what a thing comes from. ``down``: what came from it."""

MOST_NODES = 500
MOST_DEPTH = 100

_TEXTS = {"version": 2, "view": 3, "run": 1, "file": 1}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionNode(_Value):
    """A version of a dataset.

    Attributes:
        id: Names the node, here and in addresses.
        uri: Where it was read last, or written; ``None`` when no link tells.
    """

    kind: Literal["version"] = "version"
    id: str
    dataset_id: str
    commit_id: str
    uri: str | None = None


class ViewNode(_Value):
    """Rows of a version, in an order: one for each content.

    Attributes:
        name: What the view was saved as, if it was.
    """

    kind: Literal["view"] = "view"
    id: str
    dataset_id: str
    commit_id: str
    content_digest: str
    name: str | None = None
    uri: str | None = None


class RunNode(_Value):
    """A run. One that another run names, and that is not in this store, has an id alone.

    Attributes:
        started_at: UTC, ISO 8601 with microseconds.
    """

    kind: Literal["run"] = "run"
    id: str
    run_id: str
    name: str | None = None
    project: str | None = None
    group: str | None = None
    job_type: str | None = None
    state: str | None = None
    started_at: str | None = None


class FileNode(_Value):
    """A file by its content: a model, or anything else that a run started from.

    Attributes:
        name: What a run called it.
        file_kind: ``model``, ``file``.
    """

    kind: Literal["file"] = "file"
    id: str
    digest: str
    name: str | None = None
    file_kind: str = "file"


class MoreNode(_Value):
    """What is left out beside a node.

    Attributes:
        of: The node.
        direction: On which side of it.
        link: What leads there; ask for the graph of ``of`` with this link to see them.
        count: How many.
        skip: How many of them are in this graph already, the newest ones.
    """

    kind: Literal["more"] = "more"
    id: str
    of: str
    direction: Literal["up", "down"]
    link: Annotated[str, Field(pattern="^[a-z]+$")]
    count: int
    skip: int


Node = Annotated[VersionNode | ViewNode | RunNode | FileNode | MoreNode, Field(discriminator="kind")]


class Edge(_Value):
    """One step, in the direction of time.

    Attributes:
        source: Id of the earlier node.
        target: Id of the later one.
        kind: ``holds`` (a version a view), ``reads`` (a view is read by a run), ``makes`` (a run a file), ``starts`` (a run starts from
            a file), ``repeats`` (a run is repeated by another), ``uploads`` (a run a dataset version), ``more``.
        label: The role for ``reads`` and ``starts``, the verdict for ``repeats``, where there is one.
        in_cycle: Whether it lies on a way that comes back to its beginning: records of others can say so.
    """

    source: str
    target: str
    kind: Literal["holds", "reads", "makes", "starts", "repeats", "uploads", "more"]
    label: str = ""
    in_cycle: bool = False


class Graph(_Value):
    """What is around a node.

    Attributes:
        start: Id of the node that was asked for.
        nodes: The node itself first, then the others, nearest first.
        edges: Steps between them, in the direction of time, each once.
        is_whole: Whether nothing was left out; else ``more`` nodes tell where, and how much.
        has_cycle: Whether some way comes back to its beginning.
    """

    start: str
    direction: Direction
    depth: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_whole: bool
    has_cycle: bool


Thing = tuple[str, ...]


def node_id(kind: str, thing: Thing) -> str:
    """The name of a node: its kind, and its texts with everything quoted that could part them."""
    return f"{kind}:{'@'.join(quote(text, safe=':') for text in thing)}"


def parse_node(name: str) -> tuple[str, Thing]:
    """Kind and texts of a node by its name.

    Raises:
        UsageError: It names none.
    """
    kind, _, rest = name.partition(":")
    thing = tuple(unquote(text) for text in rest.split("@"))
    if len(thing) != _TEXTS.get(kind) or not all(thing) or any("\0" in text for text in thing):
        raise UsageError(
            f"'{name[:200]}' names no node of a lineage graph",
            hint="run:ID, file:sha256:…, version:DATASET@COMMIT or view:DATASET@COMMIT@sha256:…",
        )
    return kind, thing
