"""The lineage graph: both ways in time from any node, bounded, with everything that is left out counted."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from lineage.cli import app
from lineage.errors import NotFound, UsageError
from lineage.lookup.cycles import edges_in_cycles
from lineage.lookup.graph_drawing import draw_dot, draw_svg
from lineage.lookup.graph_layout import COLUMN, ROW, lay_out
from lineage.lookup.surroundings import surroundings
from lineage.model.dataset import InputRecord
from lineage.model.event import ArtifactMade, ArtifactUsed, Event, InputUsed, Reproduced, Started
from lineage.model.graph import Graph, MoreNode, RunNode, node_id, parse_node
from lineage.model.run import Artifact, Reproduction, Run, UsedArtifact
from lineage.ports import Ports
from lineage.settings import Settings
from lineage.wiring import wire
from service.app import create_app
from tests.support.serving import serving

AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
Record = Callable[..., str]


def digest(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def run_id(number: int) -> str:
    return f"{number:032x}"


def run_node(number: int) -> str:
    return node_id("run", (run_id(number),))


def file_node(name: str) -> str:
    return node_id("file", (digest(name),))


def item(dataset: str, commit: str, rows: str, role: str = "train", name: str | None = None) -> InputRecord:
    return InputRecord(
        role=role,
        uri=f"s3://pictures/{dataset}",
        dataset_id=dataset,
        branch="main",
        branch_id="main",
        commit_id=commit,
        view_name=name,
        rows=3,
        rows_total=9,
        rows_digest=digest(f"rows {rows}"),
        content_digest=digest(rows),
        rows_object=digest("object"),
        columns={},
        backend="deeplake 4.7.4",
        used_at=AT,
    )


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Ports]:
    for variable in ("LINEAGE_FOLDER", "LINEAGE_STORE"):
        monkeypatch.setenv(variable, str(tmp_path / "store"))
    made = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    yield made
    made.runs.close()


@pytest.fixture
def record(ports: Ports) -> Record:
    """Writes a run: what it read, started from and made."""

    def write(
        number: int,
        reads: Iterable[InputRecord] = (),
        starts: Iterable[str] = (),
        makes: Iterable[str] = (),
        *,
        name: str | None = None,
        reproduces: int | None = None,
        uploads: tuple[str, str] | None = None,
    ) -> str:
        own = run_id(number)
        run = Run(
            id=own,
            name=name or f"run-{number}",
            project="parking",
            job_type="train",
            started_at=AT + timedelta(minutes=number),
            reproduces=None if reproduces is None else run_id(reproduces),
        )
        events: list[Event] = [Started(at=AT, run=run), *(InputUsed(at=AT, input=read) for read in reads)]
        for used in starts:
            artifact = UsedArtifact(role="base", kind="model", path=f"{used}.pth", digest=digest(used), size_bytes=1, used_at=AT)
            events.append(ArtifactUsed(at=AT, artifact=artifact))
        for made in makes:
            events.append(
                ArtifactMade(at=AT, artifact=Artifact(name=f"{made}.pth", kind="model", path="x", digest=digest(made), size_bytes=1))
            )
        if uploads is not None:
            details = {"dataset_id": uploads[0], "commit_id": uploads[1], "uri": f"s3://pictures/{uploads[0]}"}
            artifact_made = Artifact(name="dataset", kind="dataset", path="p", digest=digest("all"), size_bytes=1, details=details)
            events.append(ArtifactMade(at=AT, artifact=artifact_made))
        for event in events:
            ports.runs.append(own, event)
        if reproduces is not None:
            reproduction = Reproduction(run_id=own, verdict="identical", at=AT)
            ports.runs.append(run_id(reproduces), Reproduced(at=AT, reproduction=reproduction))
        return own

    return write


@pytest.fixture
def story(record: Record) -> None:
    """An upload; a model trained on a view of it; one tuned from that on more data; the first one repeated."""
    record(1, uploads=("ds", "c1"), name="upload")
    record(2, [item("ds", "c1", "cars", name="cars-20px"), item("ds", "c1", "val", "validation")], makes=["base"], name="train")
    record(3, [item("ds", "c2", "more")], ["base"], ["tuned"], name="tune")
    record(4, [item("ds", "c1", "cars", name="cars-20px"), item("ds", "c1", "val", "validation")], makes=["again"], reproduces=2)


def steps(graph: Graph) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.label or edge.kind, edge.target) for edge in graph.edges if edge.kind != "more"}


def more_of(graph: Graph) -> dict[tuple[str, str], tuple[int, int]]:
    return {(node.of, node.link): (node.count, node.skip) for node in graph.nodes if isinstance(node, MoreNode)}


VERSION, VIEW, VALIDATION = (
    node_id("version", ("ds", "c1")),
    node_id("view", ("ds", "c1", digest("cars"))),
    node_id("view", ("ds", "c1", digest("val"))),
)


@pytest.mark.usefixtures("story")
def test_a_model_leads_back_to_its_upload_and_on_to_what_was_made_of_it(ports: Ports) -> None:
    """Upstream: model, run, views, version, upload. Downstream: the run that started from it, and its model. Nothing else."""
    graph = surroundings(ports, file_node("base"))

    assert steps(graph) == {
        (run_node(1), "uploads", VERSION),
        (VERSION, "holds", VIEW),
        (VERSION, "holds", VALIDATION),
        (VIEW, "train", run_node(2)),
        (VALIDATION, "validation", run_node(2)),
        (run_node(2), "makes", file_node("base")),
        (file_node("base"), "base", run_node(3)),
        (run_node(3), "makes", file_node("tuned")),
    }
    assert graph.is_whole
    assert not graph.has_cycle
    assert graph.nodes[0].id == graph.start == file_node("base")
    told = {node.id: node.model_dump(exclude={"id", "kind"}, exclude_none=True) for node in graph.nodes}
    assert told[VIEW] == {
        "dataset_id": "ds",
        "commit_id": "c1",
        "content_digest": digest("cars"),
        "name": "cars-20px",
        "uri": "s3://pictures/ds",
    }
    assert told[VERSION] == {"dataset_id": "ds", "commit_id": "c1", "uri": "s3://pictures/ds"}
    assert (told[file_node("tuned")]["name"], told[file_node("tuned")]["file_kind"]) == ("tuned.pth", "model")
    assert told[run_node(2)] | {"started_at": ""} == {
        "run_id": run_id(2),
        "name": "train",
        "project": "parking",
        "job_type": "train",
        "state": "running",
        "started_at": "",
    }


@pytest.mark.usefixtures("story")
def test_a_version_leads_to_everything_that_saw_it(ports: Ports) -> None:
    """Through every view; reproductions are steps with their verdict, in the direction of time."""
    graph = surroundings(ports, VERSION, direction="down")

    found = steps(graph)
    assert {(run_node(2), "identical", run_node(4)), (run_node(4), "makes", file_node("again"))} < found
    assert {node.id for node in graph.nodes if node.kind == "run"} == {run_node(2), run_node(3), run_node(4)}
    assert (VIEW, "train", run_node(4)) in found
    back = surroundings(ports, run_node(4), direction="up", depth=1)
    assert (run_node(2), "identical", run_node(4)) in steps(back)
    assert [node.id for node in surroundings(ports, node_id("version", ("ds", "c2")), direction="up").nodes] == [
        node_id("version", ("ds", "c2"))
    ]


def test_a_chain_of_ten_thousand_models_ends_where_it_is_told_to(ports: Ports, record: Record) -> None:
    """Each run starts from the model before; depth and number of nodes are bounded, and both ends say that there is more."""
    # Written into the tables as they are: ten thousand records take minutes.
    record(0, makes=["m0"])
    template = ports.runs.get(run_id(0))
    rows = ports.rows._database  # type: ignore[attr-defined]
    with rows.writing():
        columns = ("id", "name", "project", "job_type", "state", "started_at", "fingerprint", "document")
        document = template.model_dump_json()
        rows.insert_many(
            "runs", columns, ((run_id(i), f"run-{i}", "p", "t", "finished", f"2026-{i:05}", "f", document) for i in range(1, 10_000))
        )
        made = ((run_id(i), "m.pth", "model", digest(f"m{i}")) for i in range(1, 10_000))
        rows.insert_many("run_outputs", ("run_id", "name", "kind", "digest"), made)
        used = ((run_id(i), 0, "base", "model", "m.pth", digest(f"m{i - 1}")) for i in range(1, 10_000))
        rows.insert_many("run_uses", ("run_id", "ordinal", "role", "kind", "path", "digest"), used)

    graph = surroundings(ports, run_node(5_000), depth=6)
    runs = sorted(int(node.run_id, 16) for node in graph.nodes if isinstance(node, RunNode))
    assert runs == list(range(4_997, 5_004))
    assert more_of(graph) == {(run_node(4_997), "starts"): (1, 0), (run_node(5_003), "makes"): (1, 0)}
    deep = surroundings(ports, run_node(9_999), direction="up", depth=100, limit=40)
    assert sum(node.kind != "more" for node in deep.nodes) == 40
    assert not deep.is_whole
    lay_out(deep)


def test_of_many_neighbours_the_newest_are_shown_and_the_rest_can_be_opened(ports: Ports, record: Record) -> None:
    """A base model with 40 successors: pages of it cover each once, and every page counts the others."""
    record(0, makes=["base"])
    for number in range(1, 41):
        record(number, starts=["base"])

    seen: list[str] = []
    skip = 0
    while True:
        graph = surroundings(ports, file_node("base"), direction="down", limit=16, link="starts", skip=skip)
        seen += [node.run_id for node in graph.nodes if isinstance(node, RunNode)]
        if graph.is_whole:
            break
        ((_, (count, skip)),) = more_of(graph).items()
        assert count == 40 - len(seen)
    assert seen == [run_id(number) for number in range(40, 0, -1)]
    inner = surroundings(ports, run_node(0), direction="down")
    assert more_of(inner) == {(file_node("base"), "starts"): (28, 12)}


def test_cycles_in_records_of_others_end_and_are_shown(ports: Ports, record: Record) -> None:
    """Two runs that started from one another's models, one that started from its own, and a reproduction of itself."""
    record(1, [item("ds", "c1", "cars")], ["b"], ["a"])
    record(2, (), ["a"], ["b"])
    record(3, (), ["a", "own"], ["own"])

    graph = surroundings(ports, run_node(1))
    looped = {(edge.source, edge.target) for edge in graph.edges if edge.in_cycle}
    assert graph.has_cycle
    assert looped == {
        (run_node(1), file_node("a")),
        (file_node("a"), run_node(2)),
        (run_node(2), file_node("b")),
        (file_node("b"), run_node(1)),
        (run_node(3), file_node("own")),
        (file_node("own"), run_node(3)),
    }
    assert "↺" in draw_svg(graph, lambda _: None)


def test_a_run_that_is_named_but_not_here_is_shown_as_such(ports: Ports, record: Record) -> None:
    """A reproduction of somebody else's run names an id that this store does not hold."""
    run = Run(id=run_id(1), name="again", project="p", job_type="t", started_at=AT, reproduces="f" * 32)
    ports.runs.append(run.id, Started(at=AT, run=run))

    graph = surroundings(ports, run_node(1))
    assert [node.name for node in graph.nodes if isinstance(node, RunNode)] == ["again", None]
    assert "not in this store" in draw_svg(graph, lambda _: None)


@pytest.mark.parametrize("name", ["run:" + "0" * 32, "file:" + "sha256:" + "0" * 64, "version:ds@c9", f"view:ds@c1@{digest('none')}"])
@pytest.mark.usefixtures("story")
def test_unknown_nodes_are_not_found(ports: Ports, name: str) -> None:
    with pytest.raises(NotFound):
        surroundings(ports, name)


@pytest.mark.parametrize(
    "name", ["", "run:", "run", "model:x", "version:ds", "view:a@b", "view:a@b@c@d", "run:a@b", "version:ds@", "run:%00"]
)
def test_names_of_no_node_are_refused(ports: Ports, name: str) -> None:
    with pytest.raises(UsageError):
        surroundings(ports, name)


def test_names_of_nodes_say_what_they_mean() -> None:
    """Ids of datasets may hold whatever parts names; two things never share a name."""
    things = [("version", ("a@b", "c")), ("version", ("a", "b@c")), ("version", ("a%40b", "c")), ("view", ("ü /?#&", "b:c", digest("x")))]
    names = [node_id(kind, thing) for kind, thing in things]
    assert [parse_node(name) for name in names] == things
    assert len(set(names)) == len(names)


def test_cycles_are_found_as_by_looking_for_every_way_back() -> None:
    """Random graphs, against plain search."""
    source = random.Random(7)
    for _ in range(200):
        nodes = [str(number) for number in range(source.randint(1, 9))]
        edges = sorted({(source.choice(nodes), source.choice(nodes)) for _ in range(source.randint(0, 18))})

        def reached(start: str, edges: list[tuple[str, str]] = edges) -> set[str]:
            found, waiting = {start}, [start]
            while waiting:
                here = waiting.pop()
                further = {b for a, b in edges if a == here} - found
                found |= further
                waiting += further
            return found

        assert edges_in_cycles(edges) == {(a, b) for a, b in edges if a in reached(b)}


def test_boxes_never_overlap_and_time_runs_to_the_right(ports: Ports, record: Record) -> None:
    """A store of random runs: every node has a place of its own, and every step that is in no cycle leads to the right."""
    source = random.Random(5)
    for number in range(60):
        reads = [item("ds", f"c{source.randint(0, 3)}", f"v{source.randint(0, 9)}") for _ in range(source.randint(0, 2))]
        starts = {f"m{source.randint(0, 59)}" for _ in range(source.randint(0, 2))}
        record(number, reads, starts, [f"m{number}"], reproduces=source.randint(0, number - 1) if number % 9 == 8 else None)

    for number in range(0, 60, 12):
        graph = surroundings(ports, run_node(number), limit=300, depth=30)
        layout = lay_out(graph)
        places = sorted(layout.places.values())
        for (x1, y1), (x2, y2) in pairwise(places):
            assert x2 - x1 >= COLUMN or y2 - y1 >= ROW - 0.2
        for edge in graph.edges:
            if not edge.in_cycle:
                assert layout.places[edge.source][0] < layout.places[edge.target][0]
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for way in layout.ways for x, y in way)
        assert lay_out(graph) == layout


class _Drawing(HTMLParser):
    """Tags and texts of a drawing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_hostile_names_stay_text(ports: Ports, record: Record) -> None:
    """Names with markup, quotes and signs of Graphviz are shown as they are."""
    bad = '"]; x -> y [label="</text><script>alert(1)</script>\\'
    record(1, [item("ds", "c1", "cars", name=bad)], makes=["a"], name="</text><script>alert(1)</script>")
    graph = surroundings(ports, run_node(1))

    svg, dot = draw_svg(graph, lambda node: f"/x?{node.id}"), draw_dot(graph)
    assert set(_Drawing(svg).tags) == {"svg", "defs", "marker", "path", "g", "a", "title", "rect", "text"}
    assert len(_Drawing(svg).links) == len(graph.nodes)
    assert all(line.count('"') - line.count('\\"') in (0, 2, 4, 6, 8) for line in dot.splitlines())
    assert 'x -> y [label=\\"' in dot


# --- the command line and the API -----------------------------------------------------------------------------------------


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, ["graph", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("story")
def test_the_command_names_things_as_people_do(ports: Ports, tmp_path: Path) -> None:
    """Run prefix, file of weights, digest, dataset's address with and without a version; JSON is what the API answers."""
    weights = tmp_path / "base.pth"
    weights.write_bytes(b"base")  # its digest is the one of the story's model
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")

    for words, start in (
        ((run_id(2),), run_node(2)),
        ((str(weights),), file_node("base")),
        ((digest("base"),), file_node("base")),
        (("s3://pictures/ds",), VERSION),
        (("s3://pictures/ds", "--commit", "c2"), node_id("version", ("ds", "c2"))),
        ((VIEW,), VIEW),
    ):
        told = json.loads(invoke(*words, "--json", "--direction", "down"))
        assert told["start"] == start
        assert told == client.get("/api/v1/lineage", params={"node": start, "direction": "down"}).json()
    assert "view cars-20px" in invoke(run_id(2))
    page = tmp_path / "graph.html"
    invoke(run_id(2), "--html", str(page))
    drawn = _Drawing(page.read_text())
    assert (drawn.tags.count("rect"), "script" in drawn.tags) == (10 + 6, False)  # six kinds in the legend
    for words in (["nothing"], ["s3://pictures/ds", "--commit", "c9"], [digest("nothing")]):
        assert isinstance(CliRunner().invoke(app, ["graph", *words]).exception, NotFound), words
    for words in ([run_id(2), "--commit", "c1"], [run_id(2), "--direction", "sideways"], [run_id(2), "--dot", "--json"]):
        assert isinstance(CliRunner().invoke(app, ["graph", *words]).exception, UsageError), words


@pytest.mark.usefixtures("story")
def test_who_records_to_a_service_gets_its_answers(ports: Ports, tmp_path: Path) -> None:
    """Graphs and datasets over HTTP are those of the service's own store."""
    with serving(create_app(ports)) as address:
        own = wire(Settings(address, tmp_path / "own"))
        for start in (file_node("base"), VERSION, run_node(4)):
            assert surroundings(own, start) == surroundings(ports, start)
        assert own.rows.datasets("", 9) == ports.rows.datasets("", 9) != []
        assert own.rows.versions_read("ds", 9) == ports.rows.versions_read("ds", 9) != []
        assert own.rows.views_read("ds", "c1", 9, 1) == ports.rows.views_read("ds", "c1", 9, 1) != []
        assert own.rows.views_read("ds", None, 9) == ports.rows.views_read("ds", None, 9)
        own.runs.close()
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")
    asked = client.post("/api/v1/store/rows/links", json={"link": "reads", "things": [["one"]], "most": 3})
    assert asked.status_code == 400
    assert client.post("/api/v1/store/rows/views_read", json={"most": 3}).json() == []


@pytest.mark.usefixtures("story")
def test_the_api_refuses_what_it_cannot_bound(ports: Ports) -> None:
    """Depths and sizes out of range, and nodes that are none; the same graph has the same tag."""
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")
    path = f"/api/v1/runs/{run_id(2)[:31]}"

    assert client.get(f"/api/v1/runs/{run_id(2)}/lineage", params={"depth": 101}).status_code == 422
    assert client.get(f"/api/v1/runs/{run_id(2)}/lineage", params={"limit": 501}).status_code == 422
    assert client.get("/api/v1/lineage", params={"node": "/etc/passwd"}).status_code == 400
    assert client.get("/api/v1/lineage", params={"node": "run:" + "e" * 32}).status_code == 404
    assert client.get(f"{path}/lineage").status_code == 400  # fits several
    first = client.get(f"/api/v1/runs/{run_id(2)}/lineage")
    again = client.get(f"/api/v1/runs/{run_id(2)}/lineage", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    Graph.model_validate_json(first.content)
