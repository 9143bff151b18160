"""Reading Deep Lake's query language, as far as conditions over columns go: text to a tree. Nothing is evaluated here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|(?P<string>'(?:[^'\\]|\\.|'')*')
    |"(?P<quoted>[^"]*)"|(?P<name>[A-Za-z_]\w*)|(?P<sign><=|>=|!=|<>|==|&&|\|\||[-+*/%<>=()\[\],:.;!])|(?P<other>\S))""",
    re.VERBOSE,
)
_COMPARISONS = {"==", "=", "!=", "<>", "<", ">", "<=", ">="}
_CLAUSES = ("where", "order", "limit", "offset", "group", "sample", "union", "intersect", "except", "join", "expand", "from", "having")


class NotUnderstood(Exception):
    """The text is no condition that this module can read. Not an error: Deep Lake may be able to."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a query.

    Attributes:
        kind: ``number``, ``string``, ``quoted`` (a column name in double quotes), ``name``, ``sign``, ``other`` or ``end``.
        text: As it is compared: names as typed, strings without their quotes.
        start: Where it begins in the query.
        end: Where it ends.
    """

    kind: str
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words, in any case."""
        return self.kind == "name" and self.text.lower() in words


@dataclass(frozen=True, slots=True)
class Range:
    """One index in brackets: a single number (``single``), or from ``start`` up to ``stop``; ``None`` where nothing was written."""

    start: int | None
    stop: int | None
    single: bool


@dataclass(frozen=True, slots=True)
class Node:
    """Part of a condition.

    Attributes:
        kind: ``number``, ``string``, ``column``, ``call``, ``index``, ``compare``, ``arithmetic``, ``negative``, ``and``, ``or``, ``not``,
            ``in``, ``between``, ``like``, ``null`` (a test for no value).
        name: Column, function (lower case), sign, or for ``in`` whether it was ``not in``.
        parts: What it is made of.
        text: As it was typed.
        ranges: What stands in the brackets of an ``index``.
    """

    kind: str
    name: str
    parts: tuple[Node, ...]
    text: str
    ranges: tuple[Range, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This part and every part below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def tokens(query: str) -> list[Token]:
    """The words of a query, with one of kind ``end`` behind them."""
    found = []
    for match in _TOKEN.finditer(query):
        kind = str(match.lastgroup)
        text = match[kind][1:-1].replace("''", "'") if kind == "string" else match[kind]
        found.append(Token(kind, text, match.start(kind) - (kind == "quoted"), match.end(kind) + (kind == "quoted")))
    return [*found, Token("end", "", len(query), len(query))]


def clauses(words: list[Token]) -> dict[str, int]:
    """Positions of the words outside brackets that begin a clause; the first of each."""
    depth, found = 0, dict[str, int]()
    for position, word in enumerate(words):
        depth += (word.text in "([" and word.kind == "sign") - (word.text in ")]" and word.kind == "sign")
        if depth == 0 and word.is_word(*_CLAUSES):
            found.setdefault(word.text.lower(), position)
    return found


def condition(query: str, words: list[Token], position: int) -> tuple[Node, int]:
    """Read the condition that begins at a word.

    Returns:
        (its tree, position of the first word behind it).

    Raises:
        NotUnderstood: It has a form that is not known here.
    """
    reader = _Reader(query, words, position)
    return reader.any_of(), reader.position


class _Reader:
    """Recursive descent, one method for each level of precedence, loosest first."""

    def __init__(self, query: str, words: list[Token], position: int) -> None:
        self._query = query
        self._words = words
        self.position = position

    @property
    def _word(self) -> Token:
        return self._words[self.position]

    def _take(self) -> Token:
        self.position += 1
        return self._words[self.position - 1]

    def _sign(self, *signs: str) -> bool:
        if self._word.kind == "sign" and self._word.text in signs:
            self.position += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._sign(sign):
            raise NotUnderstood(self._word.text)

    def _node(self, start: int, kind: str, name: str, *parts: Node, ranges: tuple[Range, ...] = ()) -> Node:
        text = self._query[self._words[start].start : self._words[self.position - 1].end]
        return Node(kind, name, parts, text, ranges)

    def any_of(self) -> Node:
        start, node = self.position, self._all_of()
        while self._word.is_word("or") or self._word.text == "||":
            self._take()
            right = self._all_of()
            node = self._node(start, "or", "or", node, right)
        return node

    def _all_of(self) -> Node:
        start, node = self.position, self._negated()
        while self._word.is_word("and") or self._word.text == "&&":
            self._take()
            right = self._negated()
            node = self._node(start, "and", "and", node, right)
        return node

    def _negated(self) -> Node:
        start = self.position
        if self._word.is_word("not") or (self._word.kind == "sign" and self._word.text == "!"):
            self._take()
            inner = self._negated()
            return self._node(start, "not", "not", inner)
        return self._compared()

    def _compared(self) -> Node:
        start, left = self.position, self._sum()
        if self._word.kind == "sign" and self._word.text in _COMPARISONS:
            sign = self._take().text
            right = self._sum()
            return self._node(start, "compare", sign, left, right)
        if self._word.is_word("is"):
            self._take()
            while self._word.is_word("not", "null"):
                self._take()
            return self._node(start, "null", "is", left)
        negated = self._word.is_word("not") and self._words[self.position + 1].is_word("in", "like", "ilike")
        if negated:
            self._take()
        if self._word.is_word("in"):
            self._take()
            self._expect("(")
            items = [left, self._sum()]
            while self._sign(","):
                items.append(self._sum())
            self._expect(")")
            return self._node(start, "in", "not in" if negated else "in", *items)
        if self._word.is_word("between"):
            self._take()
            low = self._sum()
            if not self._take().is_word("and"):
                raise NotUnderstood("between")
            high = self._sum()
            return self._node(start, "between", "between", left, low, high)
        if self._word.is_word("like", "ilike"):
            self._take()
            right = self._sum()
            return self._node(start, "like", "like", left, right)
        return left

    def _sum(self) -> Node:
        start, node = self.position, self._product()
        while self._word.kind == "sign" and self._word.text in ("+", "-"):
            sign, right = self._take().text, self._product()
            node = self._node(start, "arithmetic", sign, node, right)
        return node

    def _product(self) -> Node:
        start, node = self.position, self._signed()
        while self._word.kind == "sign" and self._word.text in ("*", "/", "%"):
            sign, right = self._take().text, self._signed()
            node = self._node(start, "arithmetic", sign, node, right)
        return node

    def _signed(self) -> Node:
        start = self.position
        if self._sign("-", "+"):
            inner = self._signed()
            return self._node(start, "negative", "-", inner)
        return self._indexed()

    def _indexed(self) -> Node:
        start, node = self.position, self._single()
        while self._sign("["):
            ranges = [self._range()]
            while self._sign(","):
                ranges.append(self._range())
            self._expect("]")
            node = self._node(start, "index", "[", node, ranges=tuple(ranges))
        return node

    def _range(self) -> Range:
        first = self._whole_number()
        if self._sign(":"):
            return Range(first, self._whole_number(), single=False)
        if first is None:
            raise NotUnderstood(self._word.text)
        return Range(first, first + 1, single=True)

    def _whole_number(self) -> int | None:
        return int(self._take().text) if self._word.kind == "number" and self._word.text.isdigit() else None

    def _single(self) -> Node:
        start, word = self.position, self._take()
        if word.kind == "sign" and word.text == "(":
            inner = self.any_of()
            self._expect(")")
            text = self._query[self._words[start].start : self._words[self.position - 1].end]
            return Node(inner.kind, inner.name, inner.parts, text, inner.ranges)
        if word.kind in ("number", "string"):
            return self._node(start, word.kind, word.text)
        if word.kind == "quoted":
            return self._node(start, "column", word.text)
        if word.kind != "name":
            raise NotUnderstood(word.text)
        if self._sign("("):
            items = []
            if not self._sign(")"):
                items.append(self.any_of())
                while self._sign(","):
                    items.append(self.any_of())
                self._expect(")")
            return self._node(start, "call", word.text.lower(), *items)
        if word.is_word("true", "false"):
            return self._node(start, "number", word.text.lower())
        return self._node(start, "column", word.text)
