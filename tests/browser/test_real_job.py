"""The button of a run's page, and a real worker that does what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from service.app import create_app
from tests.browser.conftest import Watched
from tests.support.jobs import Team, team_in
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE_MS = 60_000


@pytest.fixture
def team(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A store with a repository; without a browser none is made."""
    del browser
    with team_in(tmp_path_factory.mktemp("team")) as made:
        yield made


@pytest.mark.slow
def test_the_button_leads_to_a_verdict(browser: Browser, team: Team) -> None:
    """A real ``lineage worker`` runs it again: the page shows its log as it goes on, then the verdict and a link to the new run."""
    original = team.record("train.py", "0.4", "0")
    with serving(create_app(team.ports, jobs=team.queue)) as address:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        watched = Watched(context, address)
        page = context.new_page()
        page.goto(f"{address}/runs/{original}")
        page.get_by_role("button", name="Run it again and compare").click()
        state, log = page.locator("#job-state"), page.locator(".log")
        assert state.inner_text() == "queued"
        assert not page.locator("[data-fact]").filter(visible=True).count()

        worker = team.process("--once")
        try:
            log.filter(has_text="step 0").wait_for()
            assert state.inner_text() == "running"
            job = team.queue.get(page.url.rpartition("/")[2])
            # The page came while the job waited: who does it, and how recorded code is held, came later.
            assert page.locator("[data-fact=started]").inner_text().endswith(f"by {job.worker}")
            assert page.locator("[data-fact=isolation]").inner_text() == ", ".join(job.isolation) != ""
            assert page.locator(".doing").inner_text().strip() == "running it again"
            page.locator("h1 .badge.identical").wait_for()
            told = worker.communicate(timeout=60)[1]
        finally:
            worker.kill()
            worker.wait(30)
        assert worker.returncode == 0, told
        assert state.inner_text() == "succeeded"
        assert page.locator(".doing").count() == 0
        assert [line for line in log.inner_text().splitlines() if "step " in line and "verdict" not in line][-1].endswith("step 7")
        page.get_by_role("link", name="compare", exact=True).click()
        assert page.locator("h1").inner_text() == "Comparison of 2 runs"
        (made,) = team.ports.runs.get(original).reproductions
        assert page.locator(".heads thead a").evaluate_all("links => links.map(link => link.pathname.split('/').pop())") == [
            original,
            made.run_id,
        ]
        page.goto(f"{address}/runs/{original}")
        assert page.locator("#again table", has_text="Reproductions").locator(".badge").all_inner_texts() == ["identical"]
        context.close()
        watched.check()
