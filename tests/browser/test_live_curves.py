"""Curves of a run that goes on: they grow while somebody looks, and only then."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lineage.model.event import Ended, Started
from lineage.model.run import MetricPoint, Run, RunState

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Response

    from tests.browser.conftest import Site

EVERY_MS = 3_000
EXTENT = "(() => { const {min, max} = [...charts.values()][0].scales.x; return [min, max]; })()"


@pytest.fixture
def going_on(site: Site, request: pytest.FixtureRequest) -> Run:
    """A run of another machine that has logged nothing yet."""
    known = site.ports.runs.get(site.filled.ids["running"])
    own = {"id": random.Random(request.node.name).randbytes(16).hex(), "name": "goes-on", "project": "live", "group": None, "summary": {}}
    run = known.model_copy(update=own | {"inputs": (), "uses": ()})
    site.ports.runs.append(run.id, Started(at=run.started_at, run=run))
    return run


@pytest.fixture
def asked(page: Page) -> list[Request]:
    """Requests for curves, in order; the clock of the page stands still but for what a test lets pass."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if "/curves?" in request.url else None)
    page.clock.install(time=0)
    page.clock.pause_at(1_000)
    return sent


def log(site: Site, run: Run, steps: range, name: str = "loss") -> None:
    at = run.started_at.timestamp()
    site.ports.runs.add_metrics(run.id, [MetricPoint(step=step, values={name: 1 / (1 + step)}, at=at + step) for step in steps])


def wait(page: Page, times: int = 1) -> None:
    """Let the page's time pass; what it sends by then has been seen in the end."""
    page.clock.fast_forward(times * EVERY_MS)
    page.evaluate("fetch('/static/icon.svg').then(answer => answer.text())")


def wait_and_ask(page: Page) -> Response:
    """Let the page's time pass; its next answer."""
    with page.expect_response(lambda answer: "/curves?" in answer.url) as answered:
        page.clock.fast_forward(EVERY_MS)
    return answered.value


def test_curves_grow_and_the_end_is_told(page: Page, site: Site, going_on: Run, asked: list[Request]) -> None:
    """A chart appears with its second value and grows, what is zoomed into stays, nothing is sent twice, and after the end nobody asks."""
    page.goto(f"{site.address}/runs/{going_on.id}#results")
    page.get_by_text("No metric has two values yet.").wait_for()
    log(site, going_on, range(10))
    assert wait_and_ask(page).status == 200
    chart = page.locator('figure[data-metric="loss"]')
    page.locator('figure.drawn[data-metric="loss"][data-points="10"]').wait_for()
    assert (chart.locator(".said").text_content() or "").startswith("10 values, first 1, last 0.1,")
    assert page.get_by_text("No metric has two values yet.").count() == 0

    assert wait_and_ask(page).status == 304
    log(site, going_on, range(10, 30))
    assert wait_and_ask(page).status == 200
    page.locator('figure[data-metric="loss"][data-points="30"]').wait_for()

    page.get_by_role("button", name="Zoom in").click()
    zoomed = page.locator('figure[data-metric="loss"][data-zoom]')
    zoomed.wait_for()
    log(site, going_on, range(30, 50))
    wait_and_ask(page)
    page.locator('figure[data-metric="loss"][data-points="50"]').wait_for()
    low, high = map(float, (chart.get_attribute("data-zoom") or "").split())
    assert (low, high) == pytest.approx((7.25, 21.75))
    assert page.evaluate(EXTENT) == [low, high]
    page.get_by_role("button", name="Show all of it").click()
    assert page.evaluate(EXTENT) == [0, 49]
    log(site, going_on, range(50, 60))
    wait_and_ask(page)
    page.locator('figure[data-metric="loss"][data-points="60"]').wait_for()
    assert page.evaluate(EXTENT) == [0, 59]

    points = site.ports.runs.metrics_digest(going_on.id)
    end = Ended(at=going_on.started_at + timedelta(minutes=3), state=RunState.finished, summary={"loss": 0.02}, metrics_digest=points)
    site.ports.runs.append(going_on.id, end)
    wait_and_ask(page)
    page.locator("[data-told]").filter(has_text="goes-on is finished").wait_for()
    assert page.locator("h1 .badge").inner_text() == "finished"
    so_far = len(asked)
    wait(page, 10)
    page.get_by_role("link", name="Show what came of it").click()
    page.locator("dt", has_text="loss").first.wait_for()
    page.locator("figure.drawn").first.wait_for()
    wait(page, 10)
    assert len(asked) == so_far + 1  # of the page that was opened again


def test_nobody_asks_while_the_page_is_hidden(page: Page, site: Site, going_on: Run, asked: list[Request]) -> None:
    """A hidden page is still; seen again, it asks at once. After an error it asks less often."""
    log(site, going_on, range(10))
    page.goto(f"{site.address}/runs/{going_on.id}#results")
    page.locator('figure.drawn[data-points="10"]').wait_for()
    first = len(asked)

    def look(state: str) -> None:
        page.evaluate(
            "state => { Object.defineProperty(document, 'hidden', { value: state === 'hidden', configurable: true });"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            state,
        )

    look("hidden")
    wait(page, 10)
    log(site, going_on, range(10, 20))
    assert len(asked) == first
    look("visible")
    page.locator('figure[data-points="20"]').wait_for()
    assert [answer.status for request in asked[first:] if (answer := request.response())] == [200]

    page.route("**/curves?*", lambda route: route.fulfill(status=204))  # no answer that can be read, and none that a console tells of
    wait_and_ask(page)
    page.unroute("**/curves?*")
    so_far = len(asked)
    wait(page)
    assert len(asked) == so_far
    assert wait_and_ask(page).status == 304
