"""Which edges lie on a cycle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def edges_in_cycles(edges: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges from which a way leads back to their beginning: those inside one strongly connected part (Tarjan's, without recursion)."""
    part = _parts(edges)
    sizes: dict[int, int] = {}
    for number in part.values():
        sizes[number] = sizes.get(number, 0) + 1
    return {(a, b) for a, b in edges if a == b or (part[a] == part[b] and sizes[part[a]] > 1)}


def _parts(edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        after.setdefault(b, [])
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    part: dict[str, int] = {}
    waiting: list[str] = []
    for root in after:
        if root in number:
            continue
        number[root] = lowest[root] = len(number)
        waiting.append(root)
        path = [(root, iter(after[root]))]
        while path:
            node, left = path[-1]
            following = next(left, None)
            if following is None:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    while True:
                        member = waiting.pop()
                        part[member] = number[node]
                        if member == node:
                            break
            elif following not in number:
                number[following] = lowest[following] = len(number)
                waiting.append(following)
                path.append((following, iter(after[following])))
            elif following not in part:
                lowest[node] = min(lowest[node], number[following])
    return part
