"""The lineage graph, datasets and pictures as people use them, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lineage.model.event import ArtifactMade, ArtifactUsed, Ended, Started
from lineage.model.run import Artifact, Run, RunState, UsedArtifact
from tests.support.filled_store import BEGAN

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Site


def fits(page: Page) -> bool:
    """Whether the page itself does not scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def chain(site: Site, count: int) -> list[str]:
    """Runs that start from one another's models, in a project of their own."""
    ids = [f"{0xC0FFEE:024x}{number:08x}" for number in range(count)]
    for number, run_id in enumerate(ids):
        run = Run(id=run_id, name=f"link-{number}", project="chain", job_type="tune", started_at=BEGAN)
        digests = [f"sha256:{0xABC0000 + number + way:064x}" for way in (-1, 0)]
        site.ports.runs.append(run_id, Started(at=BEGAN, run=run))
        if number:
            base = UsedArtifact(role="base", kind="model", path="m.pth", digest=digests[0], size_bytes=1, used_at=BEGAN)
            site.ports.runs.append(run_id, ArtifactUsed(at=BEGAN, artifact=base))
        made = Artifact(name=f"m{number}.pth", kind="model", path="m.pth", digest=digests[1], size_bytes=1)
        site.ports.runs.append(run_id, ArtifactMade(at=BEGAN, artifact=made))
        site.ports.runs.append(run_id, Ended(at=BEGAN, state=RunState.finished))
    return ids


# --- the graph ------------------------------------------------------------------------------------------------------------


def test_the_graph_is_walked_with_the_mouse(page: Page, site: Site) -> None:
    """From a run to its view's dataset, back, and on to the model that it made; the start stands in the middle of the box."""
    page.goto(f"{site.run('rate-0.02-seed-7')}/lineage")
    start = page.locator(".graph [aria-current]")
    own, around = start.bounding_box(), page.locator(".graph").bounding_box()
    assert own is not None
    assert around is not None
    assert abs(own["x"] + own["width"] / 2 - around["x"] - around["width"] / 2) < 60

    page.locator(".graph a[aria-label^='view cars-20px of visdrone-train']").click()
    page.get_by_role("heading", name="Views that were read").wait_for()
    assert site.filled.dataset_id in page.url
    page.go_back()
    page.locator(".graph a[aria-label^='model model.pth']").first.click()
    page.get_by_role("heading", name="Model model.pth").wait_for()
    assert page.locator(".graph a[aria-label^='run train-']").count() >= 2


def test_the_graph_is_walked_with_the_keyboard(page: Page, site: Site) -> None:
    """Tab meets the nodes in the order of time, the box scrolls along, and Enter opens one."""
    page.goto(f"{site.run('tuned')}/lineage")
    page.locator(".graph").focus()
    said: list[str] = []
    for _ in range(4):
        page.keyboard.press("Tab")
        said.append(str(page.evaluate("document.activeElement.getAttribute('aria-label')")))
        assert page.evaluate(
            "(() => { const own = document.activeElement.getBoundingClientRect(), box = document.querySelector('.graph')"
            ".getBoundingClientRect(); return own.right > box.left && own.left < box.right; })()"
        )
    assert [words.partition(" ")[0] for words in said] == ["run", "run", "dataset", "dataset"]
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Versions that were read").wait_for()


def test_the_graph_is_zoomed_and_dragged(page: Page, site: Site) -> None:
    """Buttons change the size, dragging moves the drawing and opens nothing."""
    page.goto(f"{site.run('rate-0.02-seed-7')}/lineage")
    address, drawing = page.url, page.locator(".graph > svg")
    natural = float(drawing.get_attribute("width") or 0)
    page.get_by_role("button", name="Larger").click()
    assert float(drawing.get_attribute("width") or 0) > natural * 1.2
    page.get_by_role("button", name="Fit into the box").click()
    assert page.locator(".graph").evaluate("box => box.scrollWidth <= box.clientWidth")
    page.get_by_role("button", name="Natural size").click()
    box = page.locator(".graph")
    before = box.evaluate("box => box.scrollLeft")
    node = page.locator(".graph [aria-current]").bounding_box()
    assert node is not None
    page.mouse.move(node["x"] + 20, node["y"] + 20)
    page.mouse.down()
    page.mouse.move(node["x"] - 130, node["y"] + 20, steps=5)
    page.mouse.up()
    assert box.evaluate("box => box.scrollLeft") > before + 100
    assert page.url == address
    page.locator(".graph [aria-current]").click()  # a click after it is a click again
    page.wait_for_url(site.run("rate-0.02-seed-7"))


def test_what_is_left_out_is_counted_and_opened(page: Page, site: Site) -> None:
    """Of a chain of fifty models eight steps are drawn; the dashed box goes on where it ends."""
    ids = chain(site, 50)
    page.goto(f"{site.address}/runs/{ids[0]}/lineage")
    assert page.locator(".graph a[aria-label*='link-4,']").count() == 1
    assert page.locator(".graph a[aria-label*='link-5,']").count() == 0
    page.locator(".graph a", has_text="1 more").click()
    page.locator(".graph a[aria-label*='link-8,']").wait_for()
    page.get_by_label("Steps").fill("100")
    page.get_by_role("button", name="Show").click()
    page.locator(".graph a[aria-label*='link-30,']").wait_for()
    assert page.get_by_text("Dashed boxes count what is left out").count() == 1


def test_the_graph_works_without_javascript(plain: Page, site: Site) -> None:
    """Drawing, links, form and list are made by the server."""
    plain.goto(f"{site.run('tuned')}/lineage")
    plain.get_by_role("combobox", name="Show").select_option("up")
    plain.get_by_role("button", name="Show").click()
    assert "direction=up" in plain.url
    plain.get_by_text("The same as a list").click()
    plain.locator("details table a", has_text="dataset version visdrone-train").first.click()
    plain.get_by_role("heading", name="Dataset version").wait_for()


def test_the_graph_and_its_neighbours_fit_a_phone(phone: Page, site: Site) -> None:
    """The drawing scrolls in its own box; nothing else scrolls sideways."""
    for path in (
        f"/runs/{site.filled.ids['tuned']}/lineage",
        "/datasets",
        f"/datasets/{site.filled.dataset_id}",
        "/pictures",
        f"/pictures/{site.filled.picture}",
    ):
        phone.goto(site.address + path)
        assert fits(phone), path
    phone.goto(f"{site.run('tuned')}/lineage")
    assert phone.locator(".graph").evaluate("box => box.scrollWidth > box.clientWidth")


# --- datasets and pictures ------------------------------------------------------------------------------------------------


def test_from_a_dataset_to_a_version_its_graph_and_its_pictures(page: Page, site: Site) -> None:
    """The list leads to the dataset, that to its version, to the graph around it, and to the rows of a view."""
    page.goto(f"{site.address}/datasets")
    page.get_by_role("link", name="visdrone-train").click()
    page.locator("#versions th a").first.click()
    page.get_by_role("link", name="Lineage graph").first.click()
    assert page.locator(".graph [aria-current]").get_attribute("aria-label", timeout=5_000) is not None
    assert page.locator(".graph a[aria-label^='run upload-visdrone-train']").count() == 1
    page.go_back()
    page.get_by_role("link", name="Pictures", exact=True).last.click()
    page.locator("figure.picture image").first.wait_for()


def test_a_picture_is_found_and_shown_with_its_boxes(page: Page, site: Site) -> None:
    """By sample id; its image is drawn, every box has a class, and runs and models that come from it are named."""
    page.goto(f"{site.address}/pictures")
    page.get_by_role("textbox", name="Digest or sample id").fill(site.filled.picture)
    page.get_by_role("button", name="Find").first.click()
    page.wait_for_url(f"{site.address}/pictures/{site.filled.picture}")
    figure = page.locator("figure.large")
    assert figure.locator("rect title").count() == figure.locator("rect").count() > 0
    image = page.evaluate(
        "async () => { const image = new Image(); image.src = document.querySelector('figure.large image').getAttribute('href');"
        " await image.decode(); return [image.naturalWidth, image.naturalHeight]; }"
    )
    assert image == [320, 240]
    sample = page.locator("h1").inner_text()
    assert page.locator("#models").get_by_text("inherits:").count() == 1
    page.goto(f"{site.address}/pictures?q={sample}")
    assert page.url == f"{site.address}/pictures/{site.filled.picture}"


def test_a_picture_is_found_by_its_file(page: Page, site: Site) -> None:
    """What was downloaded from its page, under another name, leads back to it."""
    content = page.request.get(f"{site.address}/pictures/{site.filled.picture}/image").body()
    page.goto(f"{site.address}/pictures")
    page.get_by_label("Or its file").set_input_files({"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": content})
    page.get_by_role("button", name="Find").last.click()
    page.wait_for_url(f"{site.address}/pictures/{site.filled.picture}")
