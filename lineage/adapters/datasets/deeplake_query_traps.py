"""Queries that Deep Lake 4.7.4 answers wrongly without saying so: each is refused, with why and the form that is right.

Every rule was measured against NumPy over the same values; ``tests/integration/test_query_traps.py`` repeats it with random conditions.
Forms that are not known to be wrong pass, and so do conditions that this module cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from lineage.adapters.datasets.deeplake_facts import ColumnFacts, facts_of
from lineage.adapters.datasets.deeplake_tql import Node, NotUnderstood, Range, Token, clauses, condition, tokens
from lineage.errors import InvalidQuery

_ORDER = {"<", ">", "<=", ">="}
_TO_ONE = {"any", "all", "all_strict", "sum", "avg", "amin", "amax", "contains", "row_number"}
_EACH = {"abs", "sqrt", "log", "exp", "ceil", "floor", "round"}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class _Value:
    """What a part of a condition gives for one row.

    Attributes:
        kind: ``bool``, ``number``, ``text``, ``labels`` or ``unknown``.
        form: ``one`` value, one ``element`` of an array, or an ``array``.
        columns: Columns that its length comes from.
        rows: Which part of the first dimension, as typed.
        ndim: Number of dimensions.
        width: Size of the second dimension; 1 when there is none, ``None`` when it differs between rows.
        is_float: Whether it is a number with fractions.
    """

    kind: str
    form: str = "one"
    columns: frozenset[str] = frozenset()
    rows: str = ":"
    ndim: int = 0
    width: int | None = 1
    is_float: bool = False


_UNKNOWN = _Value("unknown")


def refuse_wrong_answers(dataset: Any, query: str) -> None:
    """Refuse a query that is known to be answered wrongly, or differently each time.

    Args:
        dataset: An open, pinned version: some forms are wrong for some shapes only.
        query: The query text.

    Raises:
        InvalidQuery: It names the form, why it is wrong, and in its hint the right form.
    """
    words = tokens(query)
    begins = clauses(words)
    _refuse_clauses(query, words, begins)
    if "where" not in begins or any(word.kind == "other" for word in words):
        return
    try:
        tree, _ = condition(query, words, begins["where"] + 1)
    except NotUnderstood:
        return
    _Checker(query, facts_of(dataset)).check_condition(tree)


def _refuse_clauses(query: str, words: list[Token], begins: Mapping[str, int]) -> None:
    for position, word in enumerate(words):
        if word.is_word("random") and words[position + 1].text == "(":
            raise InvalidQuery(query, "it is random: it gives other rows each time", hint="order by a column, or sample when training")
    if "sample" in begins:
        raise InvalidQuery(
            query,
            "'sample by' draws rows at random, some of them several times: it gives other rows each time",
            hint="leave it out and weight the rows when training",
        )
    for name in ("group", "union", "intersect", "except", "join", "expand"):
        if name in begins:
            raise InvalidQuery(query, "it joins rows; only whole rows can be viewed", hint=f"leave '{name}' out: write 'select * where …'")


class _Checker:
    """Walks a condition from the outside in and says what each part gives."""

    def __init__(self, query: str, columns: Mapping[str, ColumnFacts]) -> None:
        self._query = query
        self._columns = columns

    def _refuse(self, node: Node, why: str, hint: str | None) -> NoReturn:
        raise InvalidQuery(self._query, f"Deep Lake answers {node.text} wrongly here, because {why}", hint=hint)

    def check_condition(self, tree: Node) -> None:
        """Check a whole condition: it must give one answer a row."""
        value = self._value(tree, {})
        if value.form == "array" and not all(self._columns[name].holds_one_value_a_row for name in value.columns):
            self._refuse(
                tree,
                "it compares a list of values in each row, and only the first of them would decide",
                f"write any({tree.text}) or all({tree.text})",
            )

    def _value(self, node: Node, long: Mapping[str, int]) -> _Value:
        # `long`: lengths that another part of the same "and" guarantees, by column.
        match node.kind:
            case "number":
                return _Value("number", is_float=not node.name.isdigit())
            case "string":
                return _Value("text")
            case "column":
                return self._column(node.name)
            case "index":
                return self._index(node, long)
            case "call":
                return self._call(node, long)
            case "not" | "negative":
                return self._value(node.parts[0], long)
            case "and":
                long = dict(long) | _guaranteed(node)
                return self._logical(node, long)
            case "or":
                return self._logical(node, long)
            case "compare":
                return self._compare(node, long)
            case "arithmetic":
                return self._arithmetic(node, long)
            case "in":
                return self._membership(node, long)
            case "between":
                return self._between(node, long)
            case _:
                for part in node.parts:
                    self._value(part, long)
                return _Value("bool")

    def _column(self, name: str) -> _Value:
        column = self._columns.get(name)
        if column is None or column.kind == "other":
            return _UNKNOWN
        if column.ndim == 0 or column.kind == "text":
            return _Value(column.kind, columns=frozenset([name]), is_float=column.is_float)
        width = 1 if column.ndim == 1 else (column.width if column.ndim == 2 and column.is_even else None)
        return _Value(column.kind, "array", frozenset([name]), ndim=column.ndim, width=width, is_float=column.is_float)

    # --- brackets ---------------------------------------------------------------------------------------------------------

    def _index(self, node: Node, long: Mapping[str, int]) -> _Value:
        base = node.parts[0]
        if base.kind == "call" and base.name == "shape":
            return _Value("number")
        column = self._columns.get(base.name) if base.kind == "column" else None
        if column is None or column.ndim == 0 or column.kind in ("other", "text") or len(node.ranges) > column.ndim or column.ndim > 2:
            return _UNKNOWN
        rows, *rest = node.ranges
        self._first_index(node, column, rows, long)
        value = replace(self._column(column.name), rows=_text_of(rows))
        if column.ndim == 1:
            return replace(value, form="element") if rows.single else value
        if not rest:
            if rows.single:
                self._refuse(
                    node, "one number in the brackets of a table reads other memory", f"write {column.name}[{rows.start}:{rows.stop},…]"
                )
            return value
        self._second_index(node, column, rows, rest[0])
        if rows.single:
            return replace(value, form="element", ndim=2, width=1)
        if rest[0].single:
            return replace(value, ndim=1, width=1)
        start, stop = rest[0].start or 0, rest[0].stop
        if stop is None:
            return value
        return replace(value, width=max(0, stop - start))

    def _first_index(self, node: Node, column: ColumnFacts, rows: Range, long: Mapping[str, int]) -> None:
        name, start = column.name, rows.start or 0
        if start == 0:
            return
        needed = start + 1 if rows.single else (rows.stop or 0)
        if rows.single and long.get(name, 0) >= needed:
            return
        if rows.single:
            if column.shortest < needed:
                self._refuse(
                    node,
                    f"some rows of '{name}' have only {column.shortest} values, and what lies behind them is read instead",
                    f"write (shape({name})[0] > {start} and {node.text} …)",
                )
        elif not column.is_uniform or column.shortest < needed:
            self._refuse(
                node,
                f"rows of '{name}' have different lengths or fewer than {max(needed, start + 1)} values",
                f"begin at the first value ({name}[0:…]), or compare single ones: shape({name})[0] > {start} and {name}[{start}…] …",
            )

    def _second_index(self, node: Node, column: ColumnFacts, rows: Range, index: Range) -> None:
        name, width, first = column.name, column.width, _text_of(rows)
        if width is None:
            return
        start, stop = index.start or 0, index.stop
        if start >= width or (stop is not None and stop > width):
            self._refuse(node, f"rows of '{name}' have {width} columns, numbered from 0", f"write a range within [{first},0:{width}]")
        if index.single and not rows.single and column.is_uniform:
            self._refuse(
                node,
                f"every row of '{name}' has the same shape",
                f"write {name}[{first},{start}:{start + 1}], which is answered rightly",
            )
        if not index.single and rows.single:
            self._refuse(
                node, "one number beside a range reads other memory", f"write {name}[{rows.start}:{rows.stop},{start}:{stop or width}]"
            )
        if index.start is not None and stop is None:
            self._refuse(node, "a range without an end stops too early", f"write {name}[{first},{start}:{width}]")

    # --- functions --------------------------------------------------------------------------------------------------------

    def _call(self, node: Node, long: Mapping[str, int]) -> _Value:
        values = [self._value(part, long) for part in node.parts]
        if node.name in ("logical_and", "logical_or"):
            return self._joined(node, list(node.parts), values)
        if node.name in _EACH and values:
            return values[0]
        if node.name == "sum" and values and values[0].kind == "bool" and values[0].form == "array":
            self._refuse(node, "a sum of conditions never grows beyond 1", f"write sum(({node.parts[0].text})*1)")
        if node.name in ("avg", "amin", "amax") and values and values[0].form == "array":
            for name in sorted(values[0].columns):
                if long.get(name, 0) < 1 and self._columns[name].shortest < 1:
                    self._refuse(node, f"it is 0 for rows without any value of '{name}'", f"write (shape({name})[0] > 0 and {node.text} …)")
        if node.name in _TO_ONE:
            is_answer = node.name in ("any", "all", "all_strict", "contains")
            return _Value("bool" if is_answer else "number", is_float=any(value.is_float for value in values) or node.name == "avg")
        return _UNKNOWN

    # --- signs ------------------------------------------------------------------------------------------------------------

    def _logical(self, node: Node, long: Mapping[str, int]) -> _Value:
        return self._joined(node, list(node.parts), [self._value(part, long) for part in node.parts])

    def _joined(self, node: Node, parts: list[Node], values: list[_Value]) -> _Value:
        """Both conditions of an "and" or "or"."""
        if len(values) != 2 or any(value.kind == "unknown" for value in values):
            return _UNKNOWN
        arrays = [value for value in values if value.form == "array"]
        if len(arrays) == 1:
            alone = parts[0] if values[1].form == "array" else parts[1]
            other = parts[1] if values[1].form == "array" else parts[0]
            word = "or" if node.name in ("or", "logical_or") else "and"
            self._refuse(
                node,
                f"{other.text} has a list of answers in each row and {alone.text} has one",
                f"keep them apart: any({other.text}) {word} {alone.text}",
            )
        if len(arrays) == 2:
            self._same_lengths(node, *arrays, strict=False)
            return replace(arrays[0], kind="bool", columns=arrays[0].columns | arrays[1].columns)
        return _Value("bool")

    def _same_lengths(self, node: Node, left: _Value, right: _Value, *, strict: bool) -> None:
        hint = "compare lists that have the same number of values in every row"
        if left.rows != right.rows:
            self._refuse(node, f"one side has the values [{left.rows}] of each row, the other [{right.rows}]", hint)
        if left.width != right.width or left.width is None:
            same = left.columns == right.columns and left.width == right.width
            if not same:
                self._refuse(node, "one side has more columns than the other", "write ranges of one column: x[:,2:3]")
        if strict and left.ndim != right.ndim:
            self._refuse(
                node,
                "one side is a table and the other a list",
                "write the table's column as a single number (x[:,2]) or compare each with a number",
            )
        first, *others = sorted(left.columns | right.columns)
        lengths = self._columns[first].shapes[:, 0]
        for name in others:
            if (self._columns[name].shapes[:, 0] != lengths).any():
                self._refuse(node, f"'{first}' and '{name}' do not have the same number of values in every row", hint)

    def _operands(self, node: Node, long: Mapping[str, int]) -> tuple[_Value, _Value, _Value]:
        """Both sides of a sign, and what its result looks like."""
        left, right = (self._value(part, long) for part in node.parts)
        if "unknown" in (left.kind, right.kind):
            return left, right, _UNKNOWN
        if left.form == right.form == "array":
            self._same_lengths(node, left, right, strict=True)
            return left, right, replace(left, columns=left.columns | right.columns)
        forms = {left.form, right.form}
        if forms == {"array", "element"}:
            self._refuse(
                node, "a list cannot be set against one element of a list", "compare with a number or with a list of the same length"
            )
        if forms == {"element"} and 2 in (left.ndim, right.ndim):
            self._refuse(node, "single elements of tables read other memory", "write ranges of one: x[0:1,2:3]")
        shape = left if left.form == "array" else right if right.form == "array" else _Value("number")
        return left, right, shape

    def _compare(self, node: Node, long: Mapping[str, int]) -> _Value:
        left, right, shape = self._operands(node, long)
        first, second = node.parts
        if node.name in _ORDER and "text" in (left.kind, right.kind) and "labels" not in (left.kind, right.kind):
            column = second.text if first.kind == "string" else first.text
            self._refuse(node, "texts have no order there", f"write {column} between '…' and '…', or {column} like '…%'")
        if first.kind == "string" and right.kind == "labels":
            sign = _MIRRORED.get(node.name, node.name)
            self._refuse(node, "a class name is understood on the right side only", f"write {second.text} {sign} {first.text}")
        if left.kind == "labels" and second.kind == "string":
            self._class_name(node, first, left, second)
        return _UNKNOWN if shape.kind == "unknown" else replace(shape, kind="bool")

    def _class_name(self, node: Node, operand: Node, value: _Value, name: Node) -> None:
        for column in value.columns:
            indices = self._columns[column].repeated_classes.get(name.name)
            if indices:
                chain = " or ".join(f"{operand.text} == {i}" for i in indices)
                negated = node.name in ("!=", "<>", "not in")
                self._refuse(
                    node,
                    f"'{name.name}' is the name of classes {', '.join(map(str, indices))} of '{column}', and only the first would count",
                    f"write {'not ' if negated else ''}({chain})",
                )

    def _arithmetic(self, node: Node, long: Mapping[str, int]) -> _Value:
        left, right, shape = self._operands(node, long)
        if "text" in (left.kind, right.kind):
            self._refuse(node, "texts cannot be calculated with", None)
        if shape.kind == "unknown":
            return _UNKNOWN
        kind = "bool" if left.kind == right.kind == "bool" else "number"
        return replace(shape, kind=kind, is_float=left.is_float or right.is_float or node.name == "/")

    def _membership(self, node: Node, long: Mapping[str, int]) -> _Value:
        operand, *items = node.parts
        value = self._value(operand, long)
        chain = " or ".join(f"{operand.text} == {item.text}" for item in items)
        right = f"write {'not ' if node.name == 'not in' else ''}({chain})"
        if value.form in ("array", "element"):
            self._refuse(node, "'in' looks at lists as a whole", right)
        if value.is_float and (operand.kind != "column" or self._columns[operand.name].has_nan):
            self._refuse(node, "what is not a number would count as one of them", right)
        if value.kind == "labels":
            for item in items:
                if item.kind == "string":
                    self._class_name(node, operand, value, item)
        return _Value("bool")

    def _between(self, node: Node, long: Mapping[str, int]) -> _Value:
        operand, low, high = node.parts
        values = [self._value(part, long) for part in node.parts]
        if any(value.form in ("array", "element") for value in values):
            self._refuse(
                node, "'between' looks at the first value only", f"write ({operand.text} >= {low.text} and {operand.text} <= {high.text})"
            )
        return _Value("bool")


def _guaranteed(node: Node) -> dict[str, int]:
    """Lengths that the parts of an "and" guarantee: ``shape(x)[0] > 2`` gives x at least 3."""
    if node.kind == "and":
        return _guaranteed(node.parts[0]) | _guaranteed(node.parts[1])
    if node.kind != "compare":
        return {}
    left, right = node.parts
    sign = node.name
    if left.kind == "number":
        left, right, sign = right, left, _MIRRORED.get(sign, sign)
    is_length = left.kind == "index" and left.parts[0].kind == "call" and left.parts[0].name == "shape" and left.ranges[0].start == 0
    if not is_length or right.kind != "number" or not right.name.isdigit() or len(left.parts[0].parts) != 1:
        return {}
    extra = {">": 1, ">=": 0, "==": 0, "=": 0}.get(sign)
    return {} if extra is None else {left.parts[0].parts[0].name: int(right.name) + extra}


def _text_of(index: Range) -> str:
    if index.single:
        return str(index.start)
    return f"{'' if not index.start else index.start}:{'' if index.stop is None else index.stop}"
