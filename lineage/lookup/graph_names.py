"""Which node of the lineage graph a person means."""

from __future__ import annotations

import re
from pathlib import Path

from lineage.errors import NotFound, UsageError
from lineage.lookup.runs import get_run
from lineage.lookup.tracked import is_tracked_name
from lineage.model.dataset import normalise_uri
from lineage.model.digest import digest_of_file, looks_like_digest
from lineage.model.graph import node_id, parse_node
from lineage.ports import Ports, RunQuery

_RUN = re.compile(r"[0-9a-fA-F]{1,32}|[0-9a-fA-F-]{36}")
_NODE = re.compile(r"(run|file|view|version):(?!//)")


def whole_name(ports: Ports, node: str) -> str:
    """A node's name as the graph spells it; of a run, a prefix of the id is enough. Nothing but records is looked at.

    Raises:
        NotFound: No run has an id that begins so.
        AmbiguousId: Several have.
        UsageError: It names no node.
    """
    kind, thing = parse_node(node)
    return node_id(kind, (get_run(ports.runs, ports.liveness, thing[0]).id,) if kind == "run" else thing)


def node_named(ports: Ports, name: str, commit_id: str | None = None) -> str:
    """The node for a run (id, prefix, or what W&B calls it), a model (file or digest), a dataset (address) or a node's own name.

    Args:
        ports: Records and index.
        name: What was typed.
        commit_id: Of a dataset: this version; else the one that was read last.

    Raises:
        NotFound: Nothing recorded is called so.
        AmbiguousId: A prefix fits several runs.
        UsageError: A version is named of something that is no dataset.
    """
    if looks_like_digest(name) or (commit_id is None and Path(name).is_file()):
        found = node_id("file", (name if looks_like_digest(name) else digest_of_file(Path(name)),))
    elif _NODE.match(name):
        found = whole_name(ports, name)
    elif is_tracked_name(name) or _RUN.fullmatch(name.strip()):
        found = node_id("run", (get_run(ports.runs, ports.liveness, name).id,))
    else:
        return _version(ports, name, commit_id)
    if commit_id is not None:
        raise UsageError("--commit belongs to a dataset's address", hint="leave it out, or name a dataset")
    return found


def _version(ports: Ports, uri: str, commit_id: str | None) -> str:
    address = normalise_uri(uri)
    # A path is recorded as DVC's when DVC tracked it then.
    for spelled in (address, f"dvc://{address.removeprefix('file://')}") if address.startswith("file://") else (address,):
        for run in ports.runs.find(RunQuery(dataset_uri=spelled, commit_id=commit_id, limit=1)):
            for item in reversed(run.inputs):
                if item.uri == spelled and commit_id in (None, item.commit_id):
                    return node_id("version", (item.dataset_id, item.commit_id))
    at = "" if commit_id is None else f" at {commit_id}"
    raise NotFound(
        "run, model or dataset",
        uri,
        detail=f"it is no file, no digest and no run id, and no recorded run read the dataset {address}{at}",
        hint="`lineage runs` lists what this store holds",
    )
