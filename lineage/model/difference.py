"""What differs between two runs: data, code, configuration, base weights, environment, results. Differences are values, not exceptions.

``a`` and ``b`` stand for the two runs in the order in which they were named.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lineage.model.steps import StepsCompared

Subject = Literal["data", "code", "configuration", "seed", "base weights", "files read", "environment", "machine", "nondeterminism"]
RowChangeKind = Literal["added", "removed", "relabelled", "replaced", "renamed"]
"""``added`` and ``removed``: in one view only. ``relabelled``: the same picture, other annotations. ``replaced``: another picture under
the same name. ``renamed``: the same picture under another name."""
ObjectChangeKind = Literal["added", "removed", "moved", "changed"]
MatchedBy = Literal["content", "row", "sample id", "picture", "row digest"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueChange(_Value):
    """One thing that has another value; ``None`` where it is absent."""

    name: str
    a: Any
    b: Any


class ObjectChange(_Value):
    """One annotated object of a row.

    Attributes:
        kind: ``added``, ``removed``; ``moved``: another box (other columns may have changed, too); ``changed``: the same box.
        box_a: The box as it is stored, four numbers.
        box_b: Likewise.
        class_a: Name of its class, when a column of class labels belongs to the boxes.
        class_b: Likewise.
        iou: Overlap of the two boxes (intersection over union), for ``moved``.
        values: Columns beside the box that changed, with class names in place of indices.
    """

    kind: ObjectChangeKind
    box_a: tuple[float, ...] | None = None
    box_b: tuple[float, ...] | None = None
    class_a: str | None = None
    class_b: str | None = None
    iou: float | None = None
    values: tuple[ValueChange, ...] = ()


class RowChange(_Value):
    """One row that differs.

    Attributes:
        sample_id: Its name, when the dataset has names: in ``b`` for rows that were added, else in ``a``.
        position_a: Position in the view of ``a``, counted from 0.
        position_b: Likewise.
        row_a: Source row, a position in the dataset version.
        row_b: Likewise.
        new_sample_id: The other name of a renamed row.
        objects: Annotated objects that differ.
        columns: Columns that differ and do not belong to objects, each as a short text.
        not_compared: Why values were not compared, ``None`` when they were.
    """

    kind: RowChangeKind
    sample_id: str | None = None
    position_a: int | None = None
    position_b: int | None = None
    row_a: int | None = None
    row_b: int | None = None
    new_sample_id: str | None = None
    objects: tuple[ObjectChange, ...] = ()
    columns: tuple[ValueChange, ...] = ()
    not_compared: str | None = None


class DataSide(_Value):
    """One run's input, in short."""

    uri: str
    commit_id: str
    view_name: str | None
    query: str | None
    rows: int
    content_digest: str


class DataDifference(_Value):
    """Two inputs of one role.

    Rows of ``a`` are ``same + relabelled + replaced + renamed + removed``; rows of ``b`` the same with ``added`` in place of ``removed``.

    Attributes:
        ordinal: Number of the pair within the role, counted from 0.
        is_same: Whether both runs got the same rows with the same content and class names in the same order.
        matched_by: What told which row is which. ``content``: nothing differs, no row was looked at.
        moved: Rows in both views whose order changed: the least number that, taken out, leaves the others in order.
        moved_is_exact: ``False`` for shuffled views: ``moved`` is then an upper bound.
        repeated_a: Rows of ``a`` whose source row stands in it before: views that hold a row several times.
        repeated_b: Likewise.
        class_names: Class indices that mean something else.
        names: Dataset, commit, view or query that differ: names, which decide nothing.
        rows: The first changes of each kind.
        has_corners: Whether boxes are stored as left, top, right, bottom (the column's name says so); else left, top, width, height.
        not_compared: What could not be compared, one sentence each.
    """

    role: str
    ordinal: int = 0
    a: DataSide | None
    b: DataSide | None
    is_same: bool
    matched_by: MatchedBy | None = None
    same: int = 0
    added: int = 0
    removed: int = 0
    relabelled: int = 0
    replaced: int = 0
    renamed: int = 0
    moved: int = 0
    moved_is_exact: bool = True
    repeated_a: int = 0
    repeated_b: int = 0
    class_names: tuple[ValueChange, ...] = ()
    names: tuple[ValueChange, ...] = ()
    rows: tuple[RowChange, ...] = ()
    has_corners: bool = False
    not_compared: tuple[str, ...] = ()


class FileChange(_Value):
    """One file that differs between two snapshots.

    Attributes:
        status: ``added``, ``deleted``, ``modified``, ``renamed`` or ``type changed``.
        old_path: Where it was, for a renamed one.
        lines_added: ``None`` for a file that is no text.
        lines_deleted: Likewise.
    """

    status: Literal["added", "deleted", "modified", "renamed", "type changed"]
    path: str
    old_path: str | None = None
    lines_added: int | None = None
    lines_deleted: int | None = None


class CodeDifference(_Value):
    """Two snapshots of code.

    Attributes:
        is_same: Whether the files are equal (the same git tree).
        a: Commit, in short; ``None`` when no code was recorded.
        b: Likewise.
        files: Files that differ; ``None`` when that cannot be told here.
        reason: Why not.
    """

    is_same: bool
    a: str | None
    b: str | None
    files: tuple[FileChange, ...] | None = ()
    reason: str | None = None


class EnvironmentDifference(_Value):
    """Two environments.

    Attributes:
        is_recorded: Whether both runs recorded one.
        interpreter: Implementation and version, when they differ.
        packages: Packages that differ, those that change numbers first: version, or ``None`` where absent. Equal versions: other files.
        variables: Variables that change numbers.
        machine: Processor, GPUs, C library and the like.
    """

    is_recorded: bool = True
    interpreter: ValueChange | None = None
    packages: tuple[ValueChange, ...] = ()
    variables: tuple[ValueChange, ...] = ()
    machine: tuple[ValueChange, ...] = ()


class MetricDifference(_Value):
    """One metric of both runs. Values that are not finite are the texts ``nan``, ``inf`` and ``-inf``; ``None``: not logged.

    Attributes:
        is_same: Whether steps and values agree bit for bit.
        last_a: Last value.
        best_a: Lowest value of metrics whose names speak of loss or error, else the highest.
        best_is: Which of the two.
        first_step: First step whose value differs, when both logged the same steps.
        at_first_step_a: The value there.
    """

    name: str
    is_same: bool
    values_a: int
    values_b: int
    last_a: float | str | None
    last_b: float | str | None
    best_is: Literal["lowest", "highest"]
    best_a: float | str | None
    best_b: float | str | None
    first_step: int | None = None
    at_first_step_a: float | str | None = None
    at_first_step_b: float | str | None = None


class Results(_Value):
    """What came out.

    Attributes:
        is_same: Whether everything that both are compared by agrees; ``None`` when neither run has a result.
        metrics: Every metric.
        first_difference: The first logged value that differs, in words.
        summary: Summary values that differ and are no metrics.
        outputs: Digests of files that differ, by name.
        state: State of the runs, when it differs.
    """

    is_same: bool | None
    metrics: tuple[MetricDifference, ...] = ()
    first_difference: str | None = None
    summary: tuple[ValueChange, ...] = ()
    outputs: tuple[ValueChange, ...] = ()
    state: ValueChange | None = None


class Cause(_Value):
    """Something that differs and may explain other results, in one sentence with its first example.

    Attributes:
        decides: Whether it should decide the result; a machine should not.
    """

    subject: Subject
    sentence: str
    decides: bool = True


class RunSide(_Value):
    """One of the two runs."""

    run_id: str
    name: str
    project: str
    job_type: str
    state: str
    started_at: str


class Difference(_Value):
    """Everything that differs between two runs, likeliest cause first.

    Attributes:
        is_same: Whether nothing that should decide the result differs.
        configuration: Changed values under dotted keys: ``config.…``, ``determinism.…``, ``seed``, ``command``, ``working directory``.
        base_weights: Digests of the files that the runs started from, by role.
        files_read: Digests of files that commands were seen to read, by path.
        steps: Where their step logs part; ``None`` unless both have one.
        not_compared: What was not looked at, one sentence each.
    """

    a: RunSide
    b: RunSide
    is_same: bool
    causes: tuple[Cause, ...]
    data: tuple[DataDifference, ...]
    code: CodeDifference
    configuration: tuple[ValueChange, ...]
    base_weights: tuple[ValueChange, ...]
    files_read: tuple[ValueChange, ...] = ()
    environment: EnvironmentDifference
    results: Results
    steps: StepsCompared | None = None
    not_compared: tuple[str, ...] = ()
