"""Secrets written into a program's text: files that git ignores are often ignored because of them, and must not be kept."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator

from lineage.model.secrets import is_secret_name, redact_text

_HINT = re.compile(rb"key|auth|credential|passw|passphrase|secret|token|://[^/\s\"']+@", re.IGNORECASE)
_WORD = re.compile(r"[^\s<>{}]{8,}")  # a secret is one word; '<pad>' and '{token}' are none
_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CRED", re.IGNORECASE)
_SHORTEST_VALUE = 8


def line_of_secret(content: bytes) -> int | None:
    """Line of the first literal that looks like a secret, counted from 1; ``None`` when there is none.

    Looked for are values of this process's secret variables, addresses with credentials, and words of at least 8 characters that stand
    under a secret's name: assigned, as an argument, in a mapping.

    Args:
        content: A source file; of other files only values of variables are found.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_VALUE and _SECRET_VARIABLE.search(name):
            at = content.find(os.fsencode(value))
            if at >= 0:
                return content.count(b"\n", 0, at) + 1
    if _HINT.search(content) is None:
        return None
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return None  # no source: an extension module, or compiled code
    return min(_lines(tree), default=None)


def _lines(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and "://" in node.value and "@" in node.value and redact_text(node.value) != node.value:
                yield node.lineno
            continue
        for name, value in _named(node):
            text = value.value if isinstance(value, ast.Constant) else None
            text = text.decode("latin-1") if isinstance(text, bytes) else text
            if isinstance(text, str) and is_secret_name(name) and _WORD.fullmatch(text):
                yield value.lineno


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((_name(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword) and node.arg is not None:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        yield from ((_name(key), value) for key, value in zip(node.keys, node.values, strict=True) if key is not None)
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        pairs = [*zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True)]
        yield from ((argument.arg, default) for argument, default in pairs)
        yield from (
            (argument.arg, default) for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True) if default is not None
        )


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
