"""Addresses of pages about things that records name."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from lineage.model.graph import FileNode, MoreNode, Node, RunNode, VersionNode, ViewNode


def lineage_address(node: str, **more: object) -> str:
    """The lineage graph around a node."""
    return f"/lineage?{urlencode({'node': node, **more})}"


def dataset_address(dataset_id: str, commit_id: str | None = None, view: str | None = None) -> str:
    """A dataset, one version of it, or one view (by the digest of its content)."""
    which = "" if commit_id is None else f"?{urlencode({'commit': commit_id})}"
    return f"/datasets/{quote(dataset_id, safe='')}{which}" + ("" if view is None else f"#view-{view.partition(':')[2][:16]}")


def group_address(name: str, project: str) -> str:
    """A group of runs."""
    return f"/groups/{quote(name, safe='')}?{urlencode({'project': project})}"


def address_of(node: Node) -> str | None:
    """The page of a node of the lineage graph; of a file, and of what was left out, the graph around it. ``None`` for a run elsewhere."""
    match node:
        case RunNode():
            return None if node.name is None else f"/runs/{node.run_id}"
        case VersionNode():
            return dataset_address(node.dataset_id, node.commit_id)
        case ViewNode():
            return dataset_address(node.dataset_id, node.commit_id, node.content_digest)
        case MoreNode():
            return lineage_address(node.of, direction=node.direction, link=node.link, skip=node.skip)
        case FileNode():
            return lineage_address(node.id)
