"""How long a browser takes until it shows a page's runs, ours and MLflow's: a headless Chromium, each load in a fresh profile."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from typing import Any

from service_records import Records

_PATIENCE_MS = 120_000
_ENTRIES = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
_BYTES = f"{_ENTRIES}.reduce((sum, entry) => sum + entry.transferSize, 0)"
_LOADED_MS = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def measure_pages(servers: dict[str, str], records: Records, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Page to server to medians.

    ``shown_ms`` is the time until the newest run's name (of its project, for MLflow's experiment) or the run's own is visible, first load;
    ``again_ms`` the same with the files of the page in the browser's cache; ``loaded_ms`` the browser's load event; ``bytes`` what came
    over the wire at the first load.

    Args:
        servers: Name (``ours …`` or ``mlflow …``) to address.
        records: The runs.
        rounds: Loads of each page by each server, in turn.
    """
    try:
        from playwright.sync_api import TimeoutError as NotShown
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("no page is measured: Playwright is not installed", file=sys.stderr)
        return {}
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        print("no page is measured: there is no Chromium", file=sys.stderr)
        return {}
    took: dict[tuple[str, str], list[dict[str, float]]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for number in range(rounds + 1):
            for name, url in servers.items():
                for page, (address, text) in _pages(name, url, records).items():
                    try:
                        found = _load(browser, address, text)
                    except NotShown:
                        print(f"{name}: {page} was not shown within {_PATIENCE_MS / 1000:.0f} s: {address}", file=sys.stderr, flush=True)
                        continue
                    if number:  # the first one starts the browser's own processes
                        took.setdefault((page, name), []).append(found)
        browser.close()
    result: dict[str, dict[str, dict[str, float]]] = {}
    for (page, name), loads in took.items():
        result.setdefault(page, {})[name] = {key: statistics.median(load[key] for load in loads) for key in loads[0]}
    return result


def _pages(name: str, url: str, records: Records) -> dict[str, tuple[str, str]]:
    newest = records.runs - 1
    experiment = 1 + newest % 5
    if name.startswith("ours"):
        return {
            "page of runs": (f"{url}/runs", records.name(newest)),
            "page of one run": (f"{url}/runs/{records.run_id(newest)}", records.name(newest)),
        }
    return {
        "page of runs": (f"{url}/#/experiments/{experiment}/runs", records.name(newest)),
        "page of one run": (f"{url}/#/experiments/{experiment}/runs/{records.run_id(newest)}", records.name(newest)),
    }


def _load(browser: Any, address: str, text: str) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        found: dict[str, float] = {}
        for key in ("shown_ms", "again_ms"):
            page = context.new_page()
            began = time.perf_counter()
            page.goto(address, wait_until="commit", timeout=_PATIENCE_MS)
            page.locator("body").get_by_text(text).locator("visible=true").first.wait_for(state="visible", timeout=_PATIENCE_MS)
            found[key] = 1e3 * (time.perf_counter() - began)
            if key == "shown_ms":
                page.wait_for_load_state("load", timeout=_PATIENCE_MS)
                found |= {"loaded_ms": page.evaluate(_LOADED_MS), "bytes": page.evaluate(_BYTES)}
            page.close()
        return found
    finally:
        context.close()
