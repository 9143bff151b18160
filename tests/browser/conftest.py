"""A service over a filled store, and a browser that looks at it: Debian's Chromium, driven by Playwright. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from lineage.ports import Ports
from lineage.ports.jobs import JobQueue
from lineage.wiring_jobs import job_queue
from service.app import create_app
from tests.support.filled_store import Filled, fill
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright import sync_api

WIDTH, HEIGHT = 1280, 900
PHONE = {"width": 390, "height": 844}


@dataclass(frozen=True, slots=True)
class Site:
    """A service that is served.

    Attributes:
        address: ``http://127.0.0.1:port``.
        filled: What is in its store.
        ports: The store, open.
        jobs: Its queue.
    """

    address: str
    filled: Filled
    ports: Ports
    jobs: JobQueue

    def run(self, word: str) -> str:
        """Path of a run's page."""
        return f"{self.address}/runs/{self.filled.ids[word]}"


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, _isolated_session: None) -> Filled:
    """The store; tests that add runs or jobs to it leave those of others as they are."""
    return fill(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def site(browser: sync_api.Browser, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The service over it; first of all the browser: without one nothing needs to be made."""
    filled: Filled = request.getfixturevalue("filled")
    ports, jobs = filled.ports(), job_queue(filled.settings)
    try:
        with serving(create_app(ports, jobs=jobs)) as address:
            yield Site(address, filled, ports, jobs)
    finally:
        jobs.close()
        ports.runs.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium without a window. Not for the whole session: while it runs, this thread can begin no event loop of its own."""
    playwright_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright (extra dev)")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium (Debian: chromium) on the PATH")
    # Chromium's own sandbox refuses to work for root, as in containers.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()


class Watched:
    """Notes what must not happen while somebody looks at pages."""

    def __init__(self, context: sync_api.BrowserContext, address: str) -> None:
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self._address = address
        context.on("request", self._requested)
        context.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _requested(self, request: sync_api.Request) -> None:
        if not request.url.startswith(f"{self._address}/"):
            self.elsewhere.append(request.url)

    def check(self) -> None:
        """Fails when a page asked another host, or its script failed."""
        assert self.elsewhere == []
        assert self.errors == []


@pytest.fixture
def page(browser: sync_api.Browser, site: Site) -> Iterator[sync_api.Page]:
    """An empty page, 1280 pixels wide; at the end: no error on its console, and no request to another host."""
    yield from _page(browser, site, viewport={"width": WIDTH, "height": HEIGHT})


@pytest.fixture
def phone(browser: sync_api.Browser, site: Site) -> Iterator[sync_api.Page]:
    """The same on a phone."""
    yield from _page(browser, site, viewport=PHONE, has_touch=True, is_mobile=True)


@pytest.fixture
def plain(browser: sync_api.Browser, site: Site) -> Iterator[sync_api.Page]:
    """The same without JavaScript."""
    yield from _page(browser, site, viewport={"width": WIDTH, "height": HEIGHT}, java_script_enabled=False)


def _page(browser: sync_api.Browser, site: Site, **options: Any) -> Iterator[sync_api.Page]:
    context = browser.new_context(**options)
    context.set_default_timeout(15_000)
    watched = Watched(context, site.address)
    yield context.new_page()
    context.close()
    watched.check()
