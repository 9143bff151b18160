"""What importers of picture folders have in common: pairing by stem, checking in threads, all errors in one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lineage.errors import InvalidSource
from lineage.model.ahead import in_order
from lineage.model.source import Column, SourceFile, SourceProblem, SourceSample, SourceScan
from lineage.ports import OnError
from pipelines.data.pictures import ENDINGS, form_of

Check = Callable[[SourceSample, Sequence[bytes]], list[SourceProblem]]


def by_stem(folder: Path, endings: Sequence[str], expected: str, problems: list[SourceProblem]) -> dict[str, list[Path]]:
    """Files of a folder by their names without endings; what does not belong there becomes a problem. Hidden files are passed over."""
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_file() or path.suffix.lower() not in endings:
            found = "a folder" if path.is_dir() else path.suffix or "no ending"
            problems.append(SourceProblem(path, "is not part of the layout", expected=expected, found=found))
        else:
            stems[path.stem].append(path)
    return dict(stems)


def single(stems: dict[str, list[Path]], problems: list[SourceProblem]) -> dict[str, Path]:
    """The stems that one file has; the others become problems."""
    for paths in stems.values():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            problems.append(SourceProblem(paths[1], "duplicate name", expected="one file for each stem", found=names))
    return {stem: paths[0] for stem, paths in stems.items() if len(paths) == 1}


def form_of_all(pictures: Iterable[Path]) -> str:
    """The form that most pictures have by their endings: a column holds one form only."""
    counts = Counter(form for path in pictures for form, endings in ENDINGS.items() if path.suffix.lower() in endings)
    return counts.most_common(1)[0][0] if counts else "JPEG"


def wrong_form(content: bytes, path: Path, form: str) -> SourceProblem | None:
    """What to say of a picture of the other form, which the column could hold and never decode."""
    found = form_of(content)
    if found is None or found == form:
        return None
    return SourceProblem(path, "is in another form than most pictures", expected=f"{form}, one form for a dataset", found=found)


def check_samples(
    samples: Sequence[SourceSample], check: Check, progress: Callable[[int, int], None] | None
) -> tuple[list[SourceSample], list[SourceProblem]]:
    """Read and check every sample in threads.

    Args:
        samples: What was found.
        check: Given a sample and the contents of its files, says what is wrong.
        progress: Told of samples checked.

    Returns:
        (samples without an error, with the digests of what was read; every problem), both in order.
    """

    def look(sample: SourceSample) -> tuple[SourceSample, list[SourceProblem]]:
        try:
            contents = [path.read_bytes() for path in sample.files]
        except OSError as error:
            return sample, [SourceProblem(Path(error.filename), "cannot be read", found=error.strerror)]
        checked = tuple(SourceFile.of(path, content) for path, content in zip(sample.files, contents, strict=True))
        return SourceSample(sample.sample_id, sample.files, checked, sample.facts), check(sample, contents)

    good: list[SourceSample] = []
    problems: list[SourceProblem] = []
    for number, (sample, found) in enumerate(in_order(look, samples), 1):
        problems += found
        if not any(problem.severity == "error" for problem in found):
            good.append(sample)
        if progress is not None:
            progress(number, len(samples))
    return good, problems


def finished_scan(
    root: Path,
    columns: tuple[Column, ...],
    samples: Iterable[SourceSample],
    problems: Iterable[SourceProblem],
    on_error: OnError,
    files: tuple[SourceFile, ...] = (),
) -> SourceScan:
    """What a scan gives back.

    Raises:
        InvalidSource: It holds errors and ``on_error`` is ``fail``; all of them are listed.
    """
    scan = SourceScan(root, columns, tuple(samples), tuple(problems), files)
    if scan.errors and on_error == "fail":
        first = scan.errors[0]
        more = f" (and {len(scan.errors) - 1} more errors)" if len(scan.errors) > 1 else ""
        raise InvalidSource(
            f"{first}{more}",
            problems=[str(problem) for problem in scan.errors[1:]],
            hint="nothing was stored; repair the files, or leave bad samples out with --on-error skip",
        )
    return scan
