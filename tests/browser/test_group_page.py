"""The page of a group: bands that can be asked at each step, several groups over one another, and the way there from a run."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lineage.model.event import Ended, Started
from lineage.model.run import MetricPoint, RunState

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Site

STEPS = 30


@pytest.fixture(scope="module")
def groups(site: Site) -> list[str]:
    """Two groups of three seeds, and an id of the first."""
    known = site.ports.runs.get(site.filled.ids["rate-0.02-seed-7"])
    ids = []
    for number, name in enumerate(("eca", "plain resnet")):
        for seed in (1, 2, 3):
            noise = random.Random(f"{name} {seed}")
            own = {"id": noise.randbytes(16).hex(), "name": f"{name}-{seed}", "group": name, "seed": seed, "project": "attention"}
            bare = {"state": RunState.running, "inputs": (), "outputs": (), "summary": {}, "reproductions": (), "ended_at": None}
            run = known.model_copy(update=own | bare | {"config": {"attention": name}})
            site.ports.runs.append(run.id, Started(at=run.started_at, run=run))
            values = [0.7 + 0.05 * number - 0.5 * math.exp(-step / 6) + noise.gauss(0, 0.01) for step in range(STEPS)]
            points = [MetricPoint(step=step, values={"val_accuracy": value}, at=float(step)) for step, value in enumerate(values)]
            site.ports.runs.add_metrics(run.id, points)
            digest = site.ports.runs.metrics_digest(run.id)
            end = Ended(at=run.started_at + timedelta(hours=1), state=RunState.finished, summary=points[-1].values, metrics_digest=digest)
            site.ports.runs.append(run.id, end)
            ids.append(run.id)
    return ids


def test_a_band_says_mean_deviation_and_extremes_at_each_step(page: Page, site: Site, groups: list[str]) -> None:
    """From the run to its group; the chart says what the service says; a second group is laid over, and can be switched off."""
    page.goto(f"{site.address}/runs/{groups[0]}")
    page.get_by_role("link", name="eca", exact=True).last.click()
    page.get_by_text("these 3 runs differ only in the seed").first.wait_for()
    chart = page.locator('figure.drawn[data-metric="val_accuracy"]')
    chart.locator(".u-over").wait_for()
    assert chart.get_attribute("data-points") == str(STEPS)

    place = chart.locator(".u-over").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] * 10 / (STEPS - 1), place["y"] + 20)
    told = page.evaluate(
        """async () => {
            const {metrics: [{over}]} = await (await fetch('/api/v1/groups/eca')).json();
            const six = (value) => Number(value.toPrecision(6)), i = 10;
            return `${six(over.mean[i])} ± ${Number(over.std[i].toPrecision(3))} (${six(over.min[i])}, ${six(over.max[i])}) n 3`;
        }"""
    )
    chart.locator(".u-value", has_text=told).wait_for()

    page.get_by_label("Lay over").select_option("plain resnet")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("these 2 groups differ in config.attention").wait_for()
    chart.get_by_text("plain resnet", exact=True).wait_for()
    shown = "[...charts.values()][0].series.map(item => item.show)"
    assert page.evaluate(shown) == [True] * 11
    chart.get_by_text("plain resnet", exact=True).click()
    assert page.evaluate(shown) == [True] * 6 + [False] * 5


def test_a_group_fits_a_phone(phone: Page, site: Site, groups: list[str]) -> None:
    """Wide tables scroll in boxes of their own."""
    assert groups
    phone.goto(f"{site.address}/groups/eca?with=plain+resnet")
    phone.locator("figure.drawn .u-over").first.wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
