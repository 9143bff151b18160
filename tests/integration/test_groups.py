"""Groups: statistics through the commands, Python and the service; and which inputs, code and packages differ inside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import lineage
from lineage.errors import NotFound, UsageError
from lineage.lookup.groups import compare_groups, group_of
from lineage.model.environment import Package
from lineage.model.event import Ended, InputUsed, Started
from lineage.model.group import Group
from lineage.model.run import MetricPoint, Run, RunState
from lineage.ports import Ports
from lineage.settings import Settings
from lineage.wiring import wire
from service import examples
from service.app import create_app
from tests.support.commands import looked, looked_up

AT = datetime(2026, 3, 1, tzinfo=UTC)
BROWSER = {"Accept": "text/html"}
OTHER = "sha256:" + "c" * 64
Add = Callable[..., Run]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "store"), tmp_path / "store")


@pytest.fixture
def ports(settings: Settings) -> Iterator[Ports]:
    made = wire(settings)
    yield made
    made.runs.close()


@pytest.fixture
def client(ports: Ports) -> TestClient:
    return TestClient(create_app(ports), base_url="http://127.0.0.1")


@pytest.fixture
def add(ports: Ports) -> Add:
    """Writes the record of a run; what is not said is the same in every one."""
    added = 0

    def write(*losses: float, group: str | None = "g", state: RunState | None = RunState.finished, **facts: Any) -> Run:
        nonlocal added
        added += 1
        known = examples.record()
        inputs = facts.pop("inputs", known.inputs)
        bare = {
            "state": RunState.running,
            "ended_at": None,
            "inputs": (),
            "outputs": (),
            "summary": {},
            "reproductions": (),
            "group": group,
        }
        own = {"id": f"{added:032x}", "name": f"run-{added}", "started_at": AT + timedelta(hours=added), "seed": added}
        run = known.model_copy(update=bare | own | facts)
        ports.runs.append(run.id, Started(at=run.started_at, run=run))
        for item in inputs:
            ports.runs.append(run.id, InputUsed(at=run.started_at, input=item))
        ports.runs.add_metrics(run.id, [MetricPoint(step=i, values={"loss": loss}, at=i) for i, loss in enumerate(losses)])
        if state is None:
            return run
        summary = {"loss": losses[-1] if math.isfinite(losses[-1]) else str(losses[-1])} if losses else {}
        digest = ports.runs.metrics_digest(run.id)
        return ports.runs.append(run.id, Ended(at=run.started_at, state=state, summary=summary, metrics_digest=digest))  # type: ignore[arg-type]

    return write


def named(found: Group) -> dict[str, dict[str, int]]:
    """What differs: title to value and number of runs."""
    return {item.title: {part.value: len(part.runs) for part in item.variants} for item in found.difference.variations}


# --- which runs count -------------------------------------------------------------------------------------------------


def test_runs_that_did_not_end_well_or_reproduce_another_do_not_count(ports: Ports, add: Add) -> None:
    """Failed ones are named and left out, a reproduction is no member, one that goes on counts at its steps and not at the end."""
    add(3.0, 1.0)
    add(5.0, 2.0)
    add(100.0, state=RunState.failed)
    add(3.0, 1.0, reproduces=f"{1:032x}", seed=1)
    add(7.0, state=None)
    add(50.0, group="other")

    found = group_of(ports, "g")
    (loss,) = found.metrics
    assert (loss.end.n, loss.end.mean, loss.end.std, loss.end.min, loss.end.max) == (2, 1.5, pytest.approx(math.sqrt(0.5)), 1.0, 2.0)
    assert loss.over is not None
    assert (loss.over.x, loss.over.n, loss.over.mean) == ((0, 1), (3, 2), (5.0, 1.5))
    assert found.runs == 3
    assert [(member.run_id[-1], member.left_out) for member in found.members] == [("5", None), ("3", "it failed"), ("2", None), ("1", None)]
    assert any("1 run still running" in note for note in found.notes)
    assert any("loss: not every run has a value at every step (n of loss is 2 to 3 of 3)" in note for note in found.notes)


def test_values_that_are_no_numbers_are_counted_and_left_out(ports: Ports, add: Add) -> None:
    """NaN on the way and at the end, no value at all: n says how many there are, and the notes why."""
    add(1.0, 4.0)
    add(math.nan, 6.0)
    add(2.0, math.inf)
    add()

    (loss,) = group_of(ports, "g").metrics
    assert (loss.end.n, loss.end.mean, loss.end.not_finite, loss.end.missing) == (2, 5.0, 1, 1)
    assert loss.over is not None
    assert (loss.over.n, loss.over.mean, loss.over.not_finite) == ((2, 2), (1.5, 5.0), 2)

    add(math.nan, group="nothing")
    (loss,) = group_of(ports, "nothing").metrics
    assert (loss.end.n, loss.end.mean, loss.end.std, loss.over) == (0, None, None, None)


def test_a_group_is_asked_for_by_name(ports: Ports, add: Add) -> None:
    """No such group, no such metric, and one name in two projects are errors that say what there is."""
    add(1.0)
    add(2.0, project="b")
    with pytest.raises(NotFound, match="no group 'h'"):
        group_of(ports, "h")
    with pytest.raises(UsageError, match="in 2 projects: b, parking"):
        group_of(ports, "g")
    with pytest.raises(NotFound, match="no metric 'los'") as caught:
        group_of(ports, "g", project="b", metrics=["los"])
    assert "known: loss" in str(caught.value.hint)
    assert group_of(ports, "g", project="b").metrics[0].end.mean == 2.0


def test_metrics_of_the_machine_are_told_where_they_are_asked_for(tmp_path: Path, ports: Ports, settings: Settings, add: Add) -> None:
    """By name, or all of them; never by themselves."""
    for run in (add(1.0, state=None), add(2.0, state=None)):
        ports.runs.add_metrics(run.id, [MetricPoint(step=1, values={"system/cpu": 90.0, "timing/step_s": 0.1}, at=1.0)])
    where = {"LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder)}

    def names(*words: str) -> list[str]:
        return [item["name"] for item in looked_up(tmp_path, "group", "g", *words, **where)["metrics"]]

    assert names() == ["loss"]
    assert names("--metric", "system/cpu") == ["system/cpu"]
    assert names("--all") == ["loss", "system/cpu", "timing/step_s"]


# --- what differs -----------------------------------------------------------------------------------------------------


def test_the_seed_alone_is_the_best_answer(ports: Ports, add: Add) -> None:
    """A seed in the configuration and in the command line is the seed; another number that varies is not."""
    for seed in (3, 4, 10):
        add(1.0 / seed, seed=seed, config={"seed": seed, "data_seed": 3, "lr": 0.1}, command=("python", "train.py", "--seed", str(seed)))
    difference = group_of(ports, "g").difference
    assert (difference.sentence, difference.is_seed_only) == ("these 3 runs differ only in the seed", True)
    assert [part.value for part in difference.variations[0].variants] == ["3", "4", "10"]

    add(1.0, seed=5, config={"seed": 6, "data_seed": 3, "lr": 0.1}, command=("python", "train.py", "--seed", "5"))
    assert set(named(group_of(ports, "g"))) == {"config.seed", "seed"}


def test_other_data_code_packages_and_fields_are_told_in_order(ports: Ports, add: Add) -> None:
    """Each with the runs that have it, what usually decides first; a machine is told apart."""
    known = examples.record()
    assert known.environment is not None
    assert known.code is not None
    other = known.inputs[0].model_copy(update={"content_digest": OTHER})
    packages = known.environment.packages | {"torch": Package(version="2.16.0", record=OTHER)}
    elsewhere = known.environment.model_copy(update={"packages": packages, "digest": OTHER, "cpu": "another CPU"})
    add(1.0, seed=7)
    add(1.0, seed=7, inputs=(other,))
    add(1.0, seed=7, inputs=(other, other.model_copy(update={"role": "test"})), environment=elsewhere)
    add(1.0, seed=7, code=known.code.model_copy(update={"tree_sha": "5" * 40, "git_sha": "a" * 40}), config={"optimizer": {"lr": 1}})

    found = group_of(ports, "g")
    titles = list(named(found))
    assert titles[:3] == ["data test", "data train", "code"]
    assert titles[3:] == [
        "config.epochs",
        "config.optimizer.learning_rate",
        "config.optimizer.lr",
        "environment torch",
        "machine processor",
    ]
    assert list(named(found)["data train"].values()) == [2, 2]
    assert named(found)["data test"]["absent"] == 3
    assert named(found)["environment torch"] == {"2.15.0": 3, "2.16.0": 1}
    torch = next(item for item in found.difference.variations if item.name == "torch")
    assert torch.variants[1].runs == (f"{3:032x}",)
    assert found.difference.sentence == (
        "these 4 runs differ in data test, data train, code, config.epochs, config.optimizer.learning_rate, config.optimizer.lr and "
        "1 more (and the machine, which should not decide)"
    )
    assert not found.difference.is_seed_only


def test_what_is_another_value_in_every_run_takes_one_line(tmp_path: Path, settings: Settings, add: Add) -> None:
    """Not one for each of them."""
    for number in range(9):
        add(1.0, config={"rate": number / 8})
    where = {"LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder)}
    shown = looked(tmp_path, "group", "g", "--html", tmp_path / "page.html", **where).stdout
    assert "config.rate: 9 different values: 0.0, 0.125, 0.25 …" in shown
    assert "9 different values: 0.0, 0.125, 0.25 …" in (tmp_path / "page.html").read_text()


def test_between_groups_only_what_separates_them_is_told(ports: Ports, add: Add) -> None:
    """The same seeds in both are no difference between them; the attention is."""
    for name in ("eca", "se"):
        for seed in (1, 2, 3):
            add(0.5, group=name, seed=seed, config={"attention": name, "seed": seed})
    between = compare_groups(ports, [group_of(ports, name) for name in ("eca", "se")])
    assert between.sentence == "these 2 groups differ in config.attention"
    assert [item.values for item in between.variations] == [{"eca": ("eca",), "se": ("se",)}]


# --- commands and Python ----------------------------------------------------------------------------------------------


def test_the_command_the_function_and_the_service_say_the_same(
    tmp_path: Path, settings: Settings, client: TestClient, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against NumPy, per step and at the end; thinned only where that is asked for."""
    noise = np.random.default_rng(3)
    values = noise.normal(size=(5, 300))
    for losses in values.tolist():
        add(*losses)
    where = {"LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder)}
    told = looked_up(tmp_path, "group", "g", **where)
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    assert told == lineage.group("g").model_dump(mode="json") == client.get("/api/v1/groups/g").json()

    (metric,) = told["metrics"]
    assert metric["over"]["mean"] == pytest.approx(values.mean(axis=0))
    assert metric["over"]["std"] == pytest.approx(values.std(axis=0, ddof=1))
    assert (metric["end"]["mean"], metric["end"]["std"]) == (pytest.approx(values[:, -1].mean()), pytest.approx(values[:, -1].std(ddof=1)))
    thinned = client.get("/api/v1/groups/g", params={"points": 20, "metric": "loss"}).json()["metrics"][0]["over"]
    assert (thinned["is_thinned"], thinned["steps"]) == (True, 300)
    assert len(thinned["x"]) <= 24
    assert max(thinned["max"]) == values.max()

    drawn = looked(tmp_path, "group", "g", "--metric", "loss", "--draw", **where).stdout
    end = values[:, -1]
    assert f"{end.mean():.6g} ± {end.std(ddof=1):.3g} ({end.min():.6g}, {end.max():.6g})" in drawn
    assert "these 5 runs differ only in the seed" in drawn
    assert drawn.count("●") > 20


def test_groups_are_listed_and_laid_over_each_other_in_a_file(tmp_path: Path, settings: Settings, add: Add) -> None:
    """The page has a band for each group and metric, loads nothing, and no name gets to be markup."""
    for name in ("eca", "<b>se</b>"):
        for seed in (1, 2):
            add(3.0 * seed, 2.0, 1.0 / seed, group=name, config={"attention": name}, seed=seed)
    add(9.0, group=None)
    where = {"LINEAGE_STORE": settings.store, "LINEAGE_FOLDER": str(settings.folder)}
    listed = looked_up(tmp_path, "groups", **where)
    assert [(item["name"], item["runs"], item["finished"]) for item in listed] == [("<b>se</b>", 2, 2), ("eca", 2, 2)]

    words = ["group", "eca", "<b>se</b>", "--metric", "loss", "--html", tmp_path / "page.html"]
    shown = looked(tmp_path, *words, **where).stdout
    assert "between them: these 2 groups differ in config.attention" in shown
    page = (tmp_path / "page.html").read_text()
    assert len(re.findall(r'<polygon class="std"', page)) == len(re.findall(r'<polyline class="mean"', page)) == 2
    assert "<b>" not in page
    assert not re.search(r"(?:src|href)=|<script|@import|url\(", page)
    assert "0.75 ± 0.354 (0.5, 1)" in page
    assert "expected a file in a folder that exists" in looked(tmp_path, *words[:2], "--html", "no/where.html", status=2, **where).stderr


# --- the service ------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_known_is_not_made_again(client: TestClient, ports: Ports, add: Add) -> None:
    """The tag changes with the records, with what is asked, and not by itself."""
    run = add(1.0, state=None)
    first = client.get("/api/v1/groups/g")
    known = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/api/v1/groups/g", headers=known).status_code == 304
    assert client.get("/api/v1/groups/g?points=10", headers=known).status_code == 200
    ports.runs.add_metrics(run.id, [MetricPoint(step=1, values={"loss": 5.0}, at=1.0)])
    grown = client.get("/api/v1/groups/g", headers=known)
    assert grown.status_code == 200
    assert grown.json()["metrics"][0]["over"]["x"] == [0, 1]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("nothing", 404, "no group 'nothing'"),
        ("g", 400, "in 2 projects"),
        ("g?project=a&metric=none", 404, "no metric 'none'"),
        ("g?points=1", 422, "points"),
        ("g?what=1", 422, "what"),
    ],
)
def test_what_cannot_be_answered_is_a_problem(client: TestClient, add: Add, path: str, status: int, words: str) -> None:
    """As every route says it."""
    add(1.0, project="a")
    add(1.0, project="b")
    answer = client.get(f"/api/v1/groups/{path}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.text


def test_the_page_shows_bands_differences_and_members(client: TestClient, add: Add) -> None:
    """Also for names with signs that addresses and markup know; several groups are laid over each other; the list of runs leads there."""
    name = "a/b & <c>?"
    for seed in (1, 2, 3):
        add(3.0 * seed, 1.0 / seed, group=name, seed=seed, config={"lr": seed / 10})
        add(2.0, 1.0, group="plain", seed=seed)
    add(8.0, 8.0, group="plain", state=RunState.failed)

    listed = client.get("/runs?by=group&column=metric:loss", headers=BROWSER).text
    address = unescape(next(found for found in re.findall(r'href="(/groups/[^"]*)"', listed) if "plain" not in found))
    page = client.get(address, headers=BROWSER)
    assert page.status_code == 200
    shown = unescape(page.text)
    assert "<c>" not in page.text
    assert "0.611111 ± 0.347" in shown
    assert "these 3 runs differ in config.lr and seed" in shown
    assert page.text.count('class="deviation band-0"') == 1

    both = unescape(client.get("/groups/plain?with=" + "a/b%20%26%20%3Cc%3E%3F&axis=", headers=BROWSER).text)
    assert "these 2 groups differ in" in both
    assert both.count('class="extremes band-1"') == 1
    assert "does not count" in both
    run = client.get(f"/runs/{1:032x}", headers=BROWSER).text
    assert address in unescape(run)
    many = "&".join(f"with=g{number}" for number in range(7))
    assert client.get(f"/groups/plain?{many}", headers=BROWSER).status_code == 400
    assert client.get("/groups", headers=BROWSER, follow_redirects=False).headers["Location"] == "/runs?by=group"
