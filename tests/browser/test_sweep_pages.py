"""The pages of sweeps as people use them, in a real browser."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lineage.model.event import Ended
from lineage.model.run import RunState
from tests.support.sweeps import AT, write_sweep

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Site

SWEEP = "k3x9a2mf"
TRIALS = 26


@pytest.fixture(scope="module")
def ids(site: Site) -> list[str]:
    """Runs of a sweep, one of which goes on."""
    states = {4: "failed", 9: "stopped", TRIALS - 1: "running"}
    return write_sweep(site.ports, SWEEP, TRIALS, states=states)


def test_a_sweep_is_found_read_and_followed(page: Page, site: Site, ids: list[str]) -> None:
    """From the list to the sweep and on to a trial's run and back; while a trial goes on the page follows by itself."""
    page.goto(f"{site.address}/sweeps")
    page.get_by_role("link", name="rates and optimizers").click()
    page.get_by_role("heading", name="Which parameter mattered").wait_for()
    first = page.locator(".bars tbody tr").first
    assert first.locator("th").inner_text() == "learning_rate"
    line = page.locator("svg.parallel a.trial.best")
    assert (line.get_attribute("href") or "").removeprefix("/runs/") in ids
    way = line.locator(".way")
    thick = way.evaluate("path => getComputedStyle(path).strokeWidth")
    assert thick == "3.2px", "the style came, and the policy lets it"
    box = page.locator(".drawing").first.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert box[0] <= box[1], "all axes are seen at once on a desktop"
    page.locator(".trials tbody a").first.click()
    page.get_by_role("link", name=f"sweep {SWEEP}").click()
    page.locator("#live[data-running='1']").wait_for()
    copied = page.locator("#live .copy-button").count()
    assert copied == 2

    scrolled = page.locator(".many").evaluate("box => (box.scrollTop = 40, box.scrollTop)")
    page.evaluate("document.title = 'the same page'")
    site.ports.runs.append(ids[-1], Ended(at=AT + timedelta(hours=2), state=RunState.finished, summary={"val_accuracy": 0.999}))
    page.locator("#live[data-running='0']").wait_for()
    assert page.locator(".trials tbody tr").first.locator("th").inner_text().startswith(f"{TRIALS - 1} ")
    assert page.title() == "the same page", "it was not loaded again"
    assert page.locator(".many").evaluate("box => box.scrollTop") == scrolled
    assert page.locator("#live .copy-button").count() == copied


def test_on_a_phone_and_without_scripts(phone: Page, plain: Page, site: Site, ids: list[str]) -> None:
    """Drawings and tables scroll in boxes of their own; everything is there without a script."""
    for address in ("/sweeps", f"/sweeps/{SWEEP}"):
        phone.goto(site.address + address)
        assert phone.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), address
    plain.goto(f"{site.address}/sweeps/{SWEEP}")
    assert plain.locator("svg.parallel a.trial").count() == TRIALS
    assert plain.locator("svg.history a.trial").count() == TRIALS
    assert plain.locator(".trials tbody tr").count() == TRIALS
    plain.locator(".trials tbody a").last.click()
    assert plain.url.startswith(f"{site.address}/runs/")
