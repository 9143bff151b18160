"""The pages as people use them: each one's main use in a real browser."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lineage.model.event import Ended, Started
from lineage.model.materialisation import JobProgress, JobState, MaterialisationRequest
from lineage.model.run import MetricPoint, RunState

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Site

HOSTILE = "\"'><img src=x onerror=document.title='hacked'><script>document.title='hacked'</script>{{ 7 * 7 }}"
LEARNING_RATE = "config:optimizer.learning_rate"


def names(page: Page) -> list[str]:
    """Names of the runs that a list shows, from above."""
    return page.locator(".runs tbody th a").all_text_contents()


def name_of(site: Site, word: str) -> str:
    return site.ports.runs.get(site.filled.ids[word]).name


def until(locator: Locator, text: str) -> None:
    """Wait until an element holds a text."""
    locator.filter(has_text=text).first.wait_for()


# --- the list of runs -------------------------------------------------------------------------------------------------


def test_runs_are_filtered_and_one_is_opened(page: Page, site: Site) -> None:
    """The form keeps what was given, the list holds what fits, and a name leads to the run."""
    page.goto(f"{site.address}/runs")
    page.get_by_role("combobox", name="Group", exact=True).fill("fine-tuning")
    page.get_by_role("combobox", name="State").select_option("finished")
    page.get_by_role("button", name="Filter").click()

    assert names(page) == [name_of(site, "tuned")]
    assert page.get_by_role("combobox", name="Group", exact=True).input_value() == "fine-tuning"
    page.get_by_role("link", name=name_of(site, "tuned")).click()
    assert page.url == site.run("tuned")
    assert page.locator("h1").inner_text().startswith(name_of(site, "tuned"))


def test_runs_are_sorted_by_a_metric_and_by_configuration(page: Page, site: Site) -> None:
    """The head of a column sorts by it, again in the other direction; columns of configuration can be chosen and sorted by."""
    page.goto(f"{site.address}/runs?group=rates")
    page.locator("thead a", has_text="validation_AP").click()
    finished = [run for word in site.filled.ids if (run := site.ports.runs.get(site.filled.ids[word])).group == "rates"]
    expected = sorted((run.summary["validation_AP"] for run in finished), reverse=True)

    def shown(column: str) -> list[float]:
        return [float(text) for text in page.locator(f'td[data-label="{column}"]').all_inner_texts()]

    assert shown("validation_AP") == pytest.approx(expected, rel=1e-5)
    page.locator("thead a", has_text="validation_AP").click()
    assert shown("validation_AP") == pytest.approx(expected[::-1], rel=1e-5)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("validation_AP")

    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("optimizer.learning_rate", exact=True).check()
    page.get_by_role("button", name="Show these").click()
    page.locator("thead a", has_text="optimizer.learning_rate").click()
    assert shown("optimizer.learning_rate") == sorted((run.config["optimizer"]["learning_rate"] for run in finished), reverse=True)


def test_runs_are_put_into_groups_with_the_spread_of_their_metrics(page: Page, site: Site) -> None:
    """A group's line has mean ± standard deviation (least, greatest), which are those of its runs' last values."""
    page.goto(f"{site.address}/runs?group=rates")
    page.get_by_role("combobox", name="Group by").select_option(LEARNING_RATE)
    page.get_by_role("button", name="Filter").click()

    line = page.locator(".groups tbody tr", has=page.get_by_role("rowheader", name="0.005", exact=True))
    values = [site.ports.runs.get(site.filled.ids[f"rate-0.005-seed-{seed}"]).summary["validation_AP"] for seed in (7, 8, 9)]
    told = line.locator('td[data-label="validation_AP"]').inner_text()
    found = [float(number) for number in re.findall(r"\d+\.\d+(?:e-\d+)?", told)]
    assert found == pytest.approx([statistics.fmean(values), statistics.stdev(values), min(values), max(values)], rel=1e-2)
    line.get_by_role("link", name="compare").click()
    assert page.locator("h1").inner_text() == "Comparison of 3 runs"


def test_runs_are_compared_with_the_keyboard_alone(page: Page, site: Site) -> None:
    """/ goes to the search, j and k through the runs, x chooses, c compares; focus can be seen, and the first tab skips the navigation."""
    page.goto(f"{site.address}/runs?group=rates&sort=name&order=asc")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.press("Escape")
    page.locator("h1").click()
    for key in ("j", "x", "j", "j", "k", "x"):
        page.keyboard.press(key)
    chosen = names(page)[:2]
    assert page.get_by_role("button", name="Compare 2 chosen runs").is_enabled()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("c")

    page.wait_for_url("**/compare?**")
    assert page.locator(".heads thead a").all_inner_texts() == chosen


# --- one run ----------------------------------------------------------------------------------------------------------


def test_curves_are_zoomed_smoothed_and_laid_over(page: Page, site: Site) -> None:
    """Dragging zooms and the button shows all again; log scale, smoothing and time redraw; the group's runs are laid over."""
    page.goto(site.run("rate-0.02-seed-7") + "#results")
    chart = page.locator('figure[data-metric="loss"]')
    chart.locator("canvas").wait_for()
    plot = chart.locator(".u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=5)
    page.mouse.up()
    page.locator('figure[data-metric="loss"][data-zoom]').wait_for()
    low, high = map(float, (chart.get_attribute("data-zoom") or "").split())
    assert (low, high) == pytest.approx((119 * 0.25, 119 * 0.5), abs=2)
    page.get_by_role("button", name="Show all of it").click()
    page.locator('figure[data-metric="loss"]:not([data-zoom])').wait_for()

    labels = chart.locator(".u-legend .u-label")
    assert labels.all_text_contents() == ["step", name_of(site, "rate-0.02-seed-7")]
    page.get_by_label("Lay over 5 of the group").check()
    labels.nth(6).wait_for()
    page.get_by_label("Lay over 5 of the group").uncheck()
    page.get_by_label("Smooth").fill("0.9")
    until(labels, ", smoothed")
    page.get_by_label("Log scale").check()
    page.get_by_role("combobox", name="Over").select_option("time")
    until(labels, "seconds")


def test_pictures_of_the_data_come_with_their_boxes(page: Page, site: Site) -> None:
    """They are loaded when they come into sight, from this service, as they were recorded."""
    with page.expect_response(re.compile(r"/inputs/0/pictures/\d+$")) as answered:
        page.goto(site.run("rate-0.02-seed-7") + "#data")
    answer = answered.value
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")

    first = page.locator("[data-pictures] figure.picture").first
    first.wait_for()
    assert first.locator("rect").count() > 0
    assert first.locator("rect title").first.text_content() in site.ports.runs.get(site.filled.ids["tuned"]).inputs[0].class_names["labels"]
    page.get_by_role("link", name=re.compile("^Pictures of these 12 rows")).click()
    assert page.locator("figure.picture").count() == 12


def test_an_output_is_downloaded(page: Page, site: Site) -> None:
    """The link gives the very bytes that were recorded, under their name."""
    page.goto(site.run("rate-0.02-seed-7"))
    with page.expect_download() as started:
        page.locator(".outputs").get_by_role("link", name="download").click()

    assert started.value.suggested_filename == "model.pth"
    made = site.ports.runs.get(site.filled.ids["rate-0.02-seed-7"]).outputs[0]
    assert started.value.path().read_bytes() == site.ports.objects.get_bytes(made.digest)


@pytest.fixture
def cleared(site: Site) -> Iterator[None]:
    """Leaves no open job behind."""
    yield
    from lineage.ports.jobs import JobQuery

    for job in site.jobs.find(JobQuery()).jobs:
        site.jobs.cancel(job.id)


@pytest.mark.usefixtures("cleared")
def test_a_rerun_is_asked_for_and_followed(page: Page, site: Site) -> None:
    """The button queues a job; its page shows log, progress and state as a worker tells them, and the verdict at the end."""
    page.goto(site.run("rate-0.005-seed-9"))
    page.get_by_role("button", name="Run it again and compare").click()
    state = page.locator("#job-state")
    assert state.inner_text() == "queued"

    claim = site.jobs.claim("test-worker", ("rerun",), 60.0)
    assert claim is not None
    assert claim.job.run_id == site.filled.ids["rate-0.005-seed-9"]
    until(state, "running")
    site.jobs.add_log(claim, "step 1 of 2 <b>loss 1.5</b>\n")
    site.jobs.heartbeat(claim, 60.0, JobProgress(what="training", done=1, total=2))
    until(page.locator(".log"), "step 1 of 2 <b>loss 1.5</b>")
    until(page.locator(".doing"), "training: 1 of 2")
    site.jobs.add_log(claim, "step 2 of 2\n")
    site.jobs.finish(claim, JobState.succeeded, verdict="identical", result_run_id=site.filled.ids["again"])

    until(page.locator("h1"), "identical")
    assert page.locator(".log").inner_text().count("step 1 of 2") == 1
    assert page.get_by_role("link", name="compare", exact=True).is_visible()


@pytest.mark.usefixtures("cleared")
def test_a_job_is_called_off(page: Page, site: Site) -> None:
    """Cancel ends a job that waits; it can be tried again."""
    page.goto(site.run("rate-0.005-seed-9"))
    page.get_by_role("button", name="Write its data").click()
    page.get_by_role("button", name="Cancel").click()
    until(page.locator("#job-state"), "cancelled")
    page.get_by_role("button", name="Try again").click()
    until(page.locator("#job-state"), "queued")


# --- comparison -------------------------------------------------------------------------------------------------------


def test_a_comparison_shows_what_differs(page: Page, site: Site) -> None:
    """Causes in words, differing values marked, curves over one another, rows counted."""
    ids = site.filled.ids
    page.goto(f"{site.address}/compare?run={ids['rate-0.02-seed-7']}&run={ids['rate-0.005-seed-7']}")

    until(page.locator(".causes"), "config.optimizer.learning_rate: 0.02 → 0.005")
    marked = page.locator("section", has=page.get_by_role("heading", name="Configuration")).locator("td.differs")
    assert marked.all_inner_texts() == ["0.005"]
    chart = page.locator('figure[data-metric="loss"]')
    chart.locator("canvas").wait_for()
    assert chart.locator(".u-label").all_text_contents() == [
        "step",
        name_of(site, "rate-0.02-seed-7"),
        name_of(site, "rate-0.005-seed-7"),
    ]
    until(page.locator(".counted").first, "the same rows in the same order")


# --- every page -------------------------------------------------------------------------------------------------------


def test_no_page_is_wider_than_a_phone(phone: Page, site: Site) -> None:
    """Wide tables scroll in boxes of their own."""
    ids = site.filled.ids
    job = site.jobs.enqueue(ids["tuned"], MaterialisationRequest(what="rerun"), by="a test")
    site.jobs.cancel(job.id)
    paths = [
        "/runs",
        "/runs?by=group&by=state",
        f"/runs?column={LEARNING_RATE}&column=code&column=version&column=metric:loss",
        f"/runs/{ids['failed']}",
        f"/runs/{ids['rate-0.02-seed-7']}",
        f"/runs/{ids['rate-0.02-seed-7']}/pictures",
        "/compare?" + "&".join(f"run={ids[f'rate-{rate}-seed-{seed}']}" for rate in (0.02, 0.005) for seed in (7, 8, 9)),
        "/compare",
        "/materialisations",
        f"/materialisations/{job.id}",
    ]
    for path in paths:
        phone.goto(f"{site.address}{path}")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_without_javascript_nothing_is_missing(plain: Page, site: Site) -> None:
    """Filters, drawn curves, pictures and the comparison work without a script."""
    plain.goto(f"{site.address}/runs?group=rates&sort=metric:loss&order=asc")
    for box in plain.locator("input[name=run]").all()[:2]:
        box.check()
    plain.get_by_role("button", name="Compare chosen runs").click()
    assert plain.locator("h1").inner_text() == "Comparison of 2 runs"
    assert plain.locator('figure[data-metric="loss"] polyline').count() == 2
    plain.goto(site.run("rate-0.02-seed-7"))
    assert plain.locator('figure[data-metric="loss"] svg').is_visible()
    plain.get_by_role("link", name=re.compile("^Pictures of these 12 rows")).click()
    assert plain.locator("figure.picture svg image").count() == 12


def test_hostile_texts_stay_texts(page: Page, site: Site) -> None:
    """What a record holds is shown as it was written, and never becomes part of a page."""
    original = site.ports.runs.get(site.filled.ids["tuned"])
    at = datetime(2025, 1, 1, tzinfo=UTC)
    words: dict[str, Any] = dict.fromkeys(("name", "project", "group", "job_type", "user", "host"), HOSTILE)
    ids = ["e0" * 16, "e1" * 16]
    for number, run_id in enumerate(ids):
        run = original.model_copy(
            update=words
            | {"id": run_id, "started_at": at, "ended_at": None, "state": RunState.running, "inputs": (), "outputs": (), "uses": ()}
            | {"config": {HOSTILE: f"{HOSTILE}{number}"}, "summary": {}, "metrics_digest": None, "reproductions": ()}
        )
        site.ports.runs.append(run_id, Started(at=at, run=run))
        points = [MetricPoint(step=step, values={HOSTILE: step + number}, at=at.timestamp()) for step in range(3)]
        site.ports.runs.add_metrics(run_id, points)
        end = Ended(at=at + timedelta(hours=1), state=RunState.finished, summary={HOSTILE: 2.0 + number, "said": HOSTILE})
        site.ports.runs.append(run_id, end.model_copy(update={"metrics_digest": site.ports.runs.metrics_digest(run_id)}))

    paths = ("/runs?until=2025-06-01T00:00:00Z", "/runs?until=2025-06-01T00:00:00Z&by=project", f"/runs/{ids[0]}")
    for path in (*paths, f"/compare?run={ids[0]}&run={ids[1]}"):
        page.goto(f"{site.address}{path}")
        if page.locator("[data-curves]").count():
            page.locator("figure[data-metric]").first.scroll_into_view_if_needed()  # a chart is drawn when it is near
            page.locator("canvas").first.wait_for()
        assert HOSTILE in page.locator("main").inner_text(), path
        assert page.title() != "hacked", path
        assert page.locator("img[src=x]").count() == 0, path
