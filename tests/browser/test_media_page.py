"""What a run showed beside its numbers, on its page: pictures with boxes and masks, tables, histograms, and what its machine did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lineage.model.run import Run
from tests.support.shown_media import STEPS, drives

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Site

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>"


@pytest.fixture(scope="module")
def shown(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that logged something of everything at six steps, with words that would hurt as markup."""
    with pytest.warns(UserWarning, match="the code is not recorded"):
        return drives(site.ports, tmp_path_factory.mktemp("shown"), words=f" {HOSTILE}")


def test_steps_boxes_masks_and_hostile_words(page: Page, site: Site, shown: Run) -> None:
    """The last step is shown; the slider, the links and the keyboard lead to others; kinds are switched off and stay so."""
    page.goto(f"{site.address}/runs/{shown.id}#media")
    sheet = page.locator("article.sheet", has=page.get_by_role("heading", name="predictions", exact=True))
    assert sheet.locator(".steps .quiet").inner_text() == "step 5, 6 of 6"
    assert sheet.locator("rect").count() == 4
    assert sheet.locator("g.kind-0 text").first.text_content() == "car 0.93"
    assert [label.strip() for label in sheet.get_by_role("group").locator("label").all_inner_texts()] == [
        "predictions",
        "truth",
        "segmentation",
    ]
    natural = (
        "image => new Promise(done => { const it = new Image(); it.onload = () => done(it.naturalWidth); it.src = image.href.baseVal; })"
    )
    assert [image.evaluate(natural) for image in sheet.locator("image").all()] == [320, 320, 320]

    sheet.get_by_label("predictions", exact=True).uncheck()
    assert not sheet.locator("g.kind-0").first.is_visible()
    assert sheet.locator("g.kind-1").first.is_visible()
    sheet.get_by_role("link", name="← Step before").click()
    sheet.get_by_text("step 4, 5 of 6").wait_for()
    assert not sheet.locator("g.kind-0").first.is_visible()
    slider = sheet.get_by_role("slider", name="Step of predictions")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    sheet.get_by_text("step 3, 4 of 6").wait_for()
    page.keyboard.press("Home")
    sheet.get_by_text("step 0, 1 of 6").wait_for()
    assert sheet.locator("figcaption").first.inner_text() == f"step 0 {HOSTILE}"
    assert sheet.get_by_role("link", name="← Step before").count() == 0
    sheet.get_by_label("predictions", exact=True).check()

    table = page.locator("article.sheet", has=page.get_by_role("heading", name="errors", exact=True))
    assert table.locator("tbody tr").count() == 100
    assert table.locator("tbody tr").nth(1).locator("td").nth(2).inner_text() == HOSTILE
    assert table.get_by_text("50 more are not shown").count() == 1
    assert page.locator(".heat rect").count() > 60
    assert page.evaluate("window.hurt") is None


def test_system_and_axes(page: Page, site: Site, shown: Run) -> None:
    """Curves of the machine over seconds are a section of their own; a metric is drawn over the axis that was defined."""
    page.goto(f"{site.address}/runs/{shown.id}#system")
    system = page.locator("#system")
    assert "peak memory 1,100 MiB" in system.locator("p").first.inner_text()
    chart = system.locator('figure.drawn[data-metric="system/process/memory_mib"]')
    chart.wait_for()
    assert chart.locator(".u-legend .u-label").first.inner_text() == "seconds"
    loss = page.locator('figure.drawn[data-metric="loss"]')
    loss.scroll_into_view_if_needed()
    assert loss.locator(".u-legend .u-label").first.inner_text() == "epoch"
    scale = "[...charts].find(([figure]) => figure.dataset.metric === 'loss')[1].scales.x"
    extent = f"[{scale}.min, {scale}.max]"
    assert page.evaluate(extent) == [0, (STEPS - 1) / 2]
    page.get_by_label("Over").select_option("step")
    loss.locator(".u-legend .u-label", has_text="step").first.wait_for()
    assert page.evaluate(extent) == [0, STEPS - 1]
    assert page.locator(".charts > figure[data-metric^='system/']").count() == page.locator("#system figure").count()


def test_without_javascript_and_on_a_phone(plain: Page, phone: Page, site: Site, shown: Run) -> None:
    """Links lead from step to step, kinds are switched off by style alone; nothing is wider than a phone."""
    plain.goto(f"{site.address}/runs/{shown.id}")
    sheet = plain.locator("article.sheet", has=plain.get_by_role("heading", name="predictions", exact=True))
    sheet.get_by_role("link", name="← Step before").click()
    assert plain.locator("h1").inner_text() == "predictions"
    plain.get_by_text("step 4, 5 of 6").wait_for()
    plain.get_by_role("link", name="Next step →").click()
    plain.get_by_text("step 5, 6 of 6").wait_for()
    plain.get_by_label("segmentation").uncheck()
    assert not plain.locator("image.kind-2").is_visible()
    phone.goto(f"{site.address}/runs/{shown.id}/media")
    assert phone.locator("article.sheet").count() == 3
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
