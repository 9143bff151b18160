"""The pages as a browser gets them: what they say, what they escape, what they never load."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

import service
from lineage.model.event import InputUsed, Reproduced
from lineage.model.run import Reproduction, RunState
from lineage.ports import Ports
from lineage.record.live import LiveRun
from lineage.record.start import start_run
from lineage.settings import Settings
from lineage.wiring import wire
from service import charts, examples
from service.app import create_app
from service.schemas import MetricSeries

HOSTILE = "\"'><x-evil onload=alert(1)></td></title><script>alert(2)</script>{{ 7 * 7 }}&amp;"
AS_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = (
    "/runs",
    "/runs?by=state&column=config:a",
    "/runs/{id}",
    "/runs/000000",
    "/runs?limit=0",
    "/runs?cursor=x",
    "/compare",
    "/compare?run={id}&run={other}",
    "/problems",
    "/nothing",
    "/docs",
)


class Document(HTMLParser):
    """What a browser would make of a page: elements with attributes, and text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inline_scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.inline_scripts if self._inside in ("script", "style") else self.text).append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def addresses(self) -> list[str]:
        names = ("href", "src", "action", "data", "srcset", "poster", "formaction", "xlink:href")
        return [str(attributes[name]) for _, attributes in self.elements for name in names if name in attributes]


@pytest.fixture
def ports(repository: Path) -> Iterator[Ports]:
    """An empty store beside a git repository with one commit."""
    made = wire(Settings(str(repository / ".lineage"), repository / ".lineage"))
    yield made
    made.runs.close()


@pytest.fixture
def start(ports: Ports, repository: Path) -> Callable[..., LiveRun]:
    """Starts a run in the repository."""

    def begin(**options: Any) -> LiveRun:
        return start_run(ports, folder=repository, **{"command": ["python", "train.py"], **options})

    return begin


@pytest.fixture
def client(ports: Ports) -> TestClient:
    """A browser that follows no redirect by itself."""
    return TestClient(
        create_app(ports), base_url="http://127.0.0.1", headers=AS_BROWSER, follow_redirects=False, raise_server_exceptions=False
    )


# --- what they say ----------------------------------------------------------------------------------------------------


def test_the_front_page_is_the_list_of_runs(client: TestClient) -> None:
    """/ leads to /runs; an empty store says how to record the first run."""
    assert (client.get("/").status_code, client.get("/").headers["location"]) == (307, "/runs")
    assert "lineage run -- python train.py" in Document(client.get("/runs").text).words


def test_a_run_is_shown_like_an_identity_card(ports: Ports, start: Callable[..., LiveRun], client: TestClient, tmp_path: Path) -> None:
    """Everything that decides a run, and what came out, is on its page."""
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"w" * 2048)
    with start(project="parking", job_type="train", seed=7, config={"optimizer": {"rate": 0.02}}, command=["python", "a b.py"]) as run:
        run.describe(determinism={"promise": "bitwise on this CPU"})
        used = examples.record().inputs[0]
        ports.runs.append(run.id, InputUsed(at=datetime.now(UTC), input=used))
        for step in range(3):
            run.log({"loss": 1.0 / (1 + step), "timing/step_s": 0.1})
        run.log_artifact(weights, kind="model")
        run.note("something to know")
    ports.runs.append(
        run.id,
        Reproduced(at=datetime.now(UTC), reproduction=Reproduction(run_id="b" * 32, verdict="identical", at=datetime.now(UTC))),
    )
    record = ports.runs.get(run.id)

    page = client.get(f"/runs/{run.id[:12]}")

    assert page.status_code == 200
    words = Document(page.text).words
    assert record.code is not None
    assert record.environment is not None
    for expected in (
        record.id,
        record.fingerprint,
        "python 'a b.py'",
        f"lineage reproduce {record.id}",
        record.code.git_sha or "",
        "the working tree was clean",
        used.uri,
        used.commit_id,
        f"{used.view_name} {used.view_id}",
        used.query or "",
        "1843 rows of 6471 (28.5 %)",
        used.rows_digest,
        used.content_digest,
        record.environment.python,
        record.environment.digest,
        "optimizer.rate 0.02",
        "Seed 7",
        "bitwise on this CPU",
        "3 values, first 1, last 0.333333, lowest 0.333333 at step 2, highest 1 at step 0",
        record.outputs[0].digest,
        "2.0 KiB",
        "identical",
        "something to know",
    ):
        assert expected in words
    assert f"/runs/{'b' * 32}" in Document(page.text).addresses()


def test_a_failed_run_without_seed_says_so(client: TestClient, start: Callable[..., LiveRun]) -> None:
    """The page names the error, and warns that a reproduction will differ."""
    run = start()
    with pytest.raises(RuntimeError), run:
        raise RuntimeError("out of pictures")

    words = Document(client.get(f"/runs/{run.id}").text).words

    assert "RuntimeError: out of pictures" in words
    assert "not fixed : a reproduction is expected to differ" in words


def test_the_list_is_filtered_and_paged(client: TestClient, start: Callable[..., LiveRun]) -> None:
    """The form's filters hold across pages; its empty fields mean any."""
    for number in range(5):
        with start(project="parking" if number else "other", name=f"run-{number}"):
            pass

    def shown(path: str) -> tuple[list[str], list[str]]:
        page = Document(client.get(path).text)
        return re.findall(r"run-\d", page.words), [str(a["href"]) for tag, a in page.elements if tag == "a" and a.get("rel") == "next"]

    first, older = shown("/runs?project=parking&job_type=&state=&limit=3")
    second, none = shown(older[0])

    assert first + second == ["run-4", "run-3", "run-2", "run-1"]
    assert none == []
    assert shown("/runs?project=nobody")[0] == []


def test_an_unknown_run_has_a_friendly_page(client: TestClient) -> None:
    """A person gets a page that names the id and leads back; a program gets a problem document."""
    page = client.get("/runs/0123abcd")
    document = client.get("/runs/0123abcd", headers={"Accept": "application/json"})

    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "no run '0123abcd'" in Document(page.text).words
    assert "/runs" in Document(page.text).addresses()
    assert (document.status_code, document.headers["content-type"]) == (404, "application/problem+json")


def test_an_ambiguous_id_links_to_its_candidates(client: TestClient, start: Callable[..., LiveRun]) -> None:
    """A prefix of several runs is no dead end."""
    ids = []
    for _ in range(17):  # one more than there are first digits
        with start() as run:
            ids.append(run.id)
    prefix = next(run_id[0] for run_id in ids if sum(other[0] == run_id[0] for other in ids) > 1)

    page = client.get(f"/runs/{prefix}")

    assert page.status_code == 400
    assert {f"/runs/{run_id}" for run_id in ids if run_id[0] == prefix} <= set(Document(page.text).addresses())


def test_problem_types_are_described(client: TestClient) -> None:
    """The ``type`` of a problem document leads to an entry of a page."""
    kind = client.get("/api/v1/runs/0123abcd").json()["type"]
    path, _, anchor = kind.partition("#")

    assert anchor in [attributes.get("id") for _, attributes in Document(client.get(path).text).elements]


# --- what they never do -------------------------------------------------------------------------------------------------


def test_hostile_texts_are_shown_as_text(ports: Ports, start: Callable[..., LiveRun], client: TestClient, tmp_path: Path) -> None:
    """Whatever a record holds, it adds no element and no attribute to a page, and can be read there as it was written."""
    made = tmp_path / "made"
    made.write_bytes(b"made")
    used = examples.record().inputs[0]
    names = ("dataset_id", "branch", "commit_id", "view_id", "view_name", "query", "backend")
    hostile_input = used.model_copy(
        update=dict.fromkeys(names, HOSTILE)
        | {"uri": f"s3://{HOSTILE}", "columns": {HOSTILE: HOSTILE}, "class_names": {HOSTILE: (HOSTILE,)}}
    )
    run = start(
        **dict.fromkeys(("project", "group", "job_type", "name"), HOSTILE),
        tags=[HOSTILE],
        command=[HOSTILE],
        config={HOSTILE: {"a": HOSTILE}},
    )
    ports.runs.append(run.id, InputUsed(at=datetime.now(UTC), input=hostile_input))
    run.describe(determinism={HOSTILE: HOSTILE, "promise": HOSTILE})
    for value in (1.0, 2.0):
        run.log({HOSTILE: value, "timing/" + HOSTILE: value})
    run.summary["said"] = HOSTILE
    run.log_artifact(made, kind=HOSTILE, name=HOSTILE, details={HOSTILE: HOSTILE})
    run.note(HOSTILE)
    run.finish(RunState.failed, HOSTILE)

    for path, least in (("/runs", 4), (f"/runs/{run.id}", 25), (f"/runs/{quote(HOSTILE[:40], safe='')}", 0)):
        page = Document(client.get(path).text)
        assert page.words.count(HOSTILE) >= least, path
        assert "x-evil" in page.words, path
        assert [tag for tag, _ in page.elements if tag == "x-evil"] == [], path
        assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == [], path
        assert [text for text in page.inline_scripts if text.strip()] == [], path
        assert [tag for tag, _ in page.elements].count("title") == 1 + [tag for tag, _ in page.elements].count("svg"), path


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_guarded_and_loads_nothing_from_elsewhere(path: str, start: Callable[..., LiveRun], client: TestClient) -> None:
    """Security headers on every answer; each address on a page is one of this service, nothing is inline, and all of them answer."""
    with start() as other:
        other.log({"loss": 3.0})
    with start() as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})

    page = client.get(path.format(id=run.id, other=other.id))

    assert "text/html" in page.headers["content-type"]
    assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "script" not in page.headers["content-security-policy"], "scripts come from this service only, never inline"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    document = Document(page.text)
    assert [address for address in document.addresses() if not re.match(r"/(?!/)|#", address)] == []
    assert [text for text in document.inline_scripts if text.strip()] == []
    assert [tag for tag, attributes in document.elements if "style" in attributes] == []
    loaded = [str(a.get("src") or a.get("href")) for tag, a in document.elements if tag in ("script", "link", "img")]
    assert loaded
    assert [address for address in loaded if client.get(address).status_code != 200] == []


def test_our_own_files_name_no_other_host(client: TestClient) -> None:
    """Style sheet, scripts and icon load nothing, and Swagger UI is told not to ask its validator."""
    own = [file.name for file in (Path(service.__file__).parent / "static").iterdir() if file.is_file()]
    assert {"style.css", "copy.js", "docs.js", "icon.svg", "curves.js"} <= set(own)
    for name in own:
        text = client.get(f"/static/{name}").text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.findall(r"https?:|//[a-z]|@import|url\(", re.sub(r"^//.*$|(?<=; )//.*$", "", text, flags=re.MULTILINE)) == [], name
    assert "\n  validatorUrl: null,\n" in client.get("/static/docs.js").text


def test_an_unforeseen_error_has_a_page_too() -> None:
    """A defect in a page is a page with the headers of every other one."""
    broken = TestClient(create_app(None), base_url="http://127.0.0.1", headers=AS_BROWSER, raise_server_exceptions=False)  # type: ignore[arg-type]

    page = broken.get("/runs")

    assert (page.status_code, page.headers["x-content-type-options"]) == (500, "nosniff")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "the service failed" in Document(page.text).words.lower()


def test_importing_the_service_opens_nothing(tmp_path: Path) -> None:
    """No work at import: no store is made, no file is written, no thread started."""
    program = "import threading, service.app; print(threading.active_count())"

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []


# --- charts -----------------------------------------------------------------------------------------------------------


def series(values: list[float | str], steps: list[int] | None = None) -> MetricSeries:
    count = len(values)
    return MetricSeries(name="loss", steps=tuple(steps or range(count)), values=tuple(values), at=(0.0,) * count)  # type: ignore[arg-type]


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["nan", "inf", "-inf"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), FLOATS), max_size=40))
def test_any_series_can_be_drawn(points: list[tuple[int, float | str]]) -> None:
    """Whatever was logged, the drawing stays in its frame with a readable number of ticks."""
    chart = charts.line_chart(series([value for _, value in points], [step for step, _ in points]))

    finite = [value for _, value in points if not isinstance(value, str)]
    assert (chart is None) == (len(finite) < 2)
    if chart is None:
        return
    drawn = [tuple(map(float, pair.split(","))) for line in chart.lines for pair in line.split()] + list(chart.marks)
    assert drawn
    assert all(charts.LEFT <= x <= charts.RIGHT and charts.TOP <= y <= charts.BOTTOM for x, y in drawn)
    assert chart.not_finite == len(points) - len(finite)
    assert len(chart.x_ticks) <= 12
    assert 1 <= len(chart.y_ticks) <= 12
    assert all(math.isfinite(float(tick.label)) for tick in (*chart.x_ticks, *chart.y_ticks))
    assert len({tick.label for tick in chart.y_ticks}) == len(chart.y_ticks)


def test_a_chart_falls_where_the_values_fall() -> None:
    """The first step is left, the last right, the highest value on top, and ticks stand at their values."""
    chart = charts.line_chart(series([10.0, 5.0, 0.0]))

    assert chart is not None
    middle = (charts.LEFT + charts.RIGHT) / 2, (charts.TOP + charts.BOTTOM) / 2
    assert chart.marks == ((charts.LEFT, charts.TOP), middle, (charts.RIGHT, charts.BOTTOM))
    assert [(tick.label, tick.at) for tick in chart.x_ticks] == [("0", charts.LEFT), ("1", middle[0]), ("2", charts.RIGHT)]
    assert [tick.label for tick in chart.y_ticks] == ["0", "2", "4", "6", "8", "10"]


def test_a_value_that_is_not_finite_parts_the_line() -> None:
    """A gap is drawn as a gap, and counted."""
    chart = charts.line_chart(series([1.0, 2.0, "nan", 4.0, 5.0, "inf", 1.0]))

    assert chart is not None
    assert [len(line.split()) for line in chart.lines] == [2, 2]
    assert chart.not_finite == 2


def test_a_long_series_keeps_its_peaks() -> None:
    """A single spike among 100,000 values is still in the drawing, which stays small."""
    values: list[float | str] = [0.0] * 100_000
    values[54_321] = 9.0

    chart = charts.line_chart(series(values))

    assert chart is not None
    points = chart.lines[0].split()
    assert len(points) <= 700
    assert [point for point in points if point.endswith(f",{float(charts.TOP)}")] != []
