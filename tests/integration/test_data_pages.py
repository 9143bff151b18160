"""Pages of datasets, pictures and the lineage graph as programs read them: what they say, and what they refuse."""

from __future__ import annotations

import hashlib
import html
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lineage.adapters.pictures.imagehash import ImageHashPictures
from lineage.errors import InvalidSource
from lineage.lookup.input_rows import load_input
from lineage.lookup.near_duplicates import hash_pictures
from lineage.lookup.pictures import picture_report
from lineage.model.access import Scope, new_token
from lineage.model.event import InputUsed, Started
from lineage.model.graph import node_id
from lineage.model.run import Run
from lineage.ports import Ports
from lineage.record.live import LiveRun
from lineage.record.start import start_run
from lineage.reproduce.archive import archive_run
from lineage.settings import Settings
from lineage.wiring import access_store, wire
from pipelines.data.scenes import write_scenes
from service.app import create_app
from tests.support.filled_store import Filled, fill

HOSTILE = '<script>alert("1")</script> & {{ 7*7 }} \' \\'


@dataclass(frozen=True, slots=True)
class Store:
    filled: Filled
    ports: Ports
    folder: Path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, _isolated_session: None) -> Iterator[Store]:
    """A store that looks like a small team's; tests add to it, and take nothing away."""
    folder = tmp_path_factory.mktemp("store")
    filled = fill(folder, pictures=8, size=(128, 96))
    ports = filled.ports()
    yield Store(filled, ports, folder)
    ports.runs.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    return TestClient(create_app(store.ports), base_url="http://127.0.0.1")


def words(page: Any) -> str:
    """What a page says, without markup."""
    text = re.sub(r"<(script|style).*?</\1>", " ", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def began(store: Store, name: str) -> LiveRun:
    return start_run(
        store.ports, folder=store.folder / "parking", job_type="train", project="parking", name=name, command=["python", "x.py"]
    )


def picture_file(store: Store) -> bytes:
    """The file of the picture that the store's training runs read."""
    for path in (store.folder / "scenes" / "train").rglob("*.jpg"):
        if f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == store.filled.picture:
            return path.read_bytes()
    raise AssertionError("the picture is not among the scenes")


# --- datasets -------------------------------------------------------------------------------------------------------------


def test_a_dataset_tells_versions_views_uploads_and_who_used_it(store: Store, client: TestClient) -> None:
    """Everything is told from records; the addresses in it lead on."""
    item = store.ports.runs.get(store.filled.ids["tuned"]).inputs[0]

    listed = client.get("/datasets")
    page = client.get(f"/datasets/{item.dataset_id}")
    said = words(page)

    assert item.uri in words(listed)
    assert f"/datasets/{item.dataset_id}" in listed.text
    for expected in (item.dataset_id, item.uri, item.commit_id, item.query or "", item.content_digest, item.view_id or ""):
        assert expected in said
    assert f"{item.view_name} {item.rows} of 8 rows" in said
    assert "upload-visdrone-train" in said
    assert "visdrone, " in said
    assert "list with digests" in said
    assert said.count("model.pth") >= 6
    only = words(client.get(f"/datasets/{item.dataset_id}", params={"commit": item.commit_id}))
    assert f"@ {item.commit_id}" in only
    files = re.search(r'/api/v1/objects/(sha256:[0-9a-f]{64})" download="source-files', page.text)
    assert files is not None
    assert store.filled.picture.partition(":")[2] in client.get(f"/api/v1/objects/{files[1]}").text


def test_versions_and_views_come_in_pages(store: Store, client: TestClient) -> None:
    """Thirty versions: two pages of each, together every one once; an id with signs that part addresses."""
    template = store.ports.runs.get(store.filled.ids["tuned"]).inputs[0]
    run = Run(id="d" * 32, name="many", project="p", job_type="t", started_at=datetime(2026, 1, 1, tzinfo=UTC))
    store.ports.runs.append(run.id, Started(at=run.started_at, run=run))
    commits = [f"commit-{number:02}" for number in range(30)]
    for commit in commits:
        facts = {"dataset_id": "a/b?c#d e", "commit_id": commit, "uri": "s3://x/y", "space": None, "view_name": f"v {commit}"}
        store.ports.runs.append(run.id, InputUsed(at=run.started_at, input=template.model_copy(update=facts)))

    first = client.get("/datasets/a%2Fb%3Fc%23d%20e")
    links = {html.unescape(link) for link in re.findall(r'href="(/datasets/[^"]*)"', first.text)}
    older = {kind: next(link for link in links if f"{kind}=25" in link) for kind in ("versions", "views")}
    seen = re.findall(r"<h3>v (commit-\d\d)", first.text) + re.findall(r"<h3>v (commit-\d\d)", client.get(older["views"]).text)
    assert sorted(seen) == commits
    rows = r'<th scope="row"><a href="[^"]*"><code>(commit-\d\d)</code>'
    assert sorted(re.findall(rows, first.text) + re.findall(rows, client.get(older["versions"]).text)) == commits
    assert client.get("/datasets/a%2Fb%3Fc%23d%20e", params={"commit": "commit-99"}).status_code == 404


def test_a_dataset_that_nobody_read_is_not_found(client: TestClient) -> None:
    assert client.get("/datasets/none").status_code == 404
    assert client.get("/datasets", params={"after": "\0"}).status_code == 422
    assert client.get("/datasets/x", params={"views": -1}).status_code == 422


# --- pictures -------------------------------------------------------------------------------------------------------------


def test_a_picture_tells_in_which_epochs_it_was_really_read(store: Store, client: TestClient) -> None:
    """Three whole epochs and part of a fourth; a run that only declared its data says that nobody watched."""
    import lineage.training

    item = store.ports.runs.get(store.filled.ids["tuned"]).inputs[0]
    with began(store, "watched") as run:
        view = run.use_dataset(item.uri, role="train", view=item.view_id)
        loader = lineage.training.DataLoader(view, batch_size=1, shuffle=True, collate_fn=list)
        last: set[int] = set()
        for epoch in range(4):
            for batch in loader:
                if epoch == 3:
                    last = {sample["row"] for sample in batch}
                    break
    for position in range(item.rows):
        digest = f"sha256:{view.digests.pictures[position].tobytes().hex()}"
        watched, *others = [read for read in picture_report(store.ports, digest).reads if read.run.id == run.id or read.ordinal == 0]
        assert watched.run.id == run.id
        assert watched.positions == (position,)
        assert watched.epochs == (((0, 3),) if int(view.rows[position]) in last else ((0, 2),))
        assert {read.epochs for read in others} == {None}
    said = words(client.get(f"/pictures/{digest}"))
    assert re.search(r"watched parking train (0–3|0–2) visdrone-train @", said)
    assert "train not observed visdrone-train @" in said
    assert "inherits: " in said


def test_a_picture_is_found_by_digest_sample_and_file(store: Store, client: TestClient) -> None:
    """All three lead to one page; its image is the recorded one, byte for byte when it is small."""
    picture = store.filled.picture
    sample = next(item.sample_id for item in picture_report(store.ports, picture).occurrences)
    content = picture_file(store)
    page = f"/pictures/{picture}"

    for answer in (
        client.get("/pictures", params={"q": picture}, follow_redirects=False),
        client.get("/pictures", params={"q": f" {picture[7:].upper()} "}, follow_redirects=False),
        client.get("/pictures", params={"q": sample}, follow_redirects=False),
        client.post("/pictures", files={"file": ("holiday.png", content, "image/png")}, follow_redirects=False),
    ):
        assert (answer.status_code, answer.headers["location"]) == (303, page)
    image = client.get(f"{page}/image")
    assert image.content == content
    assert (image.headers["content-type"], image.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    said = words(client.get(page))
    assert picture in said
    assert f"called {sample}, 128 × 96 pixels" in said


def test_what_is_no_picture_of_ours_is_not_found(store: Store, client: TestClient) -> None:
    """Other bytes, an unknown sample, no file at all; a path is a sample id like any other text, and no file is read."""
    other = client.post("/pictures", files={"file": ("a.jpg", b"other", "image/jpeg")}, follow_redirects=True)
    assert other.status_code == 404
    assert client.get("/pictures", params={"q": "/etc/passwd"}).status_code == 404
    assert "no sample '/etc/passwd'" in words(client.get("/pictures", params={"q": "/etc/passwd"}))
    assert client.get("/pictures/..%2F..%2Fetc%2Fpasswd/image").status_code in (404, 422)
    assert client.post("/pictures", content=b"x").status_code == 400
    assert client.post("/pictures", files={"file": ("", b"")}).status_code == 400
    assert client.post("/pictures", content=b"--b\r\nbad", headers={"content-type": "multipart/form-data; boundary=b"}).status_code == 400
    assert client.post("/pictures", files=[("file", ("a", b"a")), ("more", ("b", b"b"))]).status_code == 400
    small = TestClient(create_app(store.ports, most_body_bytes=1_000), base_url="http://127.0.0.1")
    assert small.post("/pictures", files={"file": ("a.jpg", b"x" * 5_000)}).status_code == 413
    elsewhere = client.post("/pictures", files={"file": ("a.jpg", b"x")}, headers={"origin": "https://elsewhere.example"})
    assert elsewhere.status_code == 403


def test_the_picture_of_a_lost_dataset_comes_from_its_archive(tmp_path: Path) -> None:
    """With the dataset gone the page says why nothing is shown; with a kept copy it is shown, also where no dataset may be opened."""
    filled = fill(tmp_path, pictures=4, size=(128, 96))
    ports = filled.ports()
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")
    content = client.get(f"/pictures/{filled.picture}/image").content
    archive_run(ports, ports.runs.get(filled.ids["tuned"]))
    shutil.rmtree(tmp_path / "data")

    fresh = TestClient(create_app(ports), base_url="http://127.0.0.1")
    assert fresh.get(f"/pictures/{filled.picture}/image").content == content
    assert "archived a copy of its rows is kept" in words(fresh.get(f"/datasets/{filled.dataset_id}"))
    listing = ports.rows.archive(ports.runs.get(filled.ids["tuned"]).inputs[0].content_digest)
    assert listing is not None
    ports.objects.delete(listing)
    lost = TestClient(create_app(ports), base_url="http://127.0.0.1")
    page = lost.get(f"/pictures/{filled.picture}")
    assert page.status_code == 200
    assert "It cannot be shown" in words(page)
    assert lost.get(f"/pictures/{filled.picture}/image").status_code >= 400
    ports.runs.close()


def test_large_pictures_are_made_smaller() -> None:
    """The longer side has as many pixels as asked for; small ones stay as they are, broken ones are errors."""
    from io import BytesIO

    from PIL import Image

    def encoded(width: int, height: int, kind: str = "JPEG") -> bytes:
        buffer = BytesIO()
        Image.effect_noise((width, height), 50).convert("RGB").save(buffer, kind)
        return buffer.getvalue()

    pictures = ImageHashPictures()
    smaller = pictures.reduced(encoded(400, 100, "PNG"), 200)
    assert smaller is not None
    with Image.open(BytesIO(smaller)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (200, 50))
    assert pictures.reduced(encoded(200, 100), 200) is None
    with pytest.raises(InvalidSource):
        pictures.reduced(b"no picture", 200)


# --- the graph ------------------------------------------------------------------------------------------------------------


def test_nodes_of_the_graph_lead_to_pages_that_are_there(store: Store, client: TestClient) -> None:
    """Every link of the drawing answers; the keyboard meets the nodes from left to right."""
    page = client.get(f"/runs/{store.filled.ids['rate-0.02-seed-7']}/lineage")
    drawing = page.text[page.text.index("<svg xmlns") :]
    drawing = drawing[: drawing.index("</div>")]
    links = [html.unescape(link) for link in re.findall(r'<a href="([^"]*)" aria-label', drawing)]

    assert len(links) >= 10
    assert {client.get(link).status_code for link in links} == {200}
    places = [float(at) for at in re.findall(r'<rect x="([-0-9.]+)"', drawing)]
    assert places == sorted(places)
    assert {"identical", "diverged", "uploaded", "base"} <= set(re.findall(r">(\w+)</text>", drawing))
    assert drawing.count('aria-current="true"') == 1


def test_hostile_strings_stay_text_on_every_page(store: Store, client: TestClient) -> None:
    """Names with markup in a run, view, sample and dataset; nothing of it becomes markup, in pages or drawings."""
    template = store.ports.runs.get(store.filled.ids["tuned"]).inputs[0]
    run = Run(id="e" * 32, name=HOSTILE, project=HOSTILE, job_type="t", started_at=datetime(2026, 1, 2, tzinfo=UTC))
    facts = {"dataset_id": HOSTILE, "commit_id": HOSTILE, "uri": f"s3://{HOSTILE}", "view_name": HOSTILE, "query": HOSTILE}
    store.ports.runs.append(run.id, Started(at=run.started_at, run=run))
    store.ports.runs.append(run.id, InputUsed(at=run.started_at, input=template.model_copy(update=facts)))
    dataset = client.get("/datasets", params={"after": HOSTILE[:3]})

    pages = [
        dataset,
        client.get(f"/runs/{run.id}/lineage"),
        client.get("/lineage", params={"node": node_id("version", (HOSTILE, HOSTILE))}),
        client.get("/pictures", params={"q": HOSTILE}),
        client.get(f"/pictures/{store.filled.picture}"),
        *(client.get(html.unescape(link)) for link in set(re.findall(r'href="(/datasets/%3Cscript[^"]*)"', dataset.text))),
    ]
    assert [page.status_code for page in pages] == [200, 200, 200, 404, 200, 200]
    for page in pages:
        assert "<script>alert" not in page.text
        assert "alert" in page.text
    assert all("49" not in words(page).partition("alert")[2][:12] for page in pages)


def test_pictures_that_look_alike_are_named(tmp_path: Path, repository: Path) -> None:
    """A re-encoded copy is found, nearest first, once the pictures were hashed; before that the page says that they were not."""
    from io import BytesIO

    import deeplake
    from deeplake import types
    from PIL import Image

    write_scenes(tmp_path / "scenes", train=5, validation=1, size=(128, 96), seed=3, recipe="parking", defects=[])
    contents = [path.read_bytes() for path in sorted((tmp_path / "scenes" / "train").rglob("*.jpg"))]
    copy = BytesIO()
    with Image.open(BytesIO(contents[0])) as picture:
        picture.save(copy, "JPEG", quality=40)
    data = deeplake.create(f"file://{tmp_path}/data", schema={"image": types.Image(sample_compression="jpeg"), "name": types.Text()})
    data.append({"image": [*contents, copy.getvalue()], "name": [str(number) for number in range(len(contents) + 1)]})
    data.commit("all")
    ports = wire(Settings(str(tmp_path / "store"), tmp_path / "store"))
    with start_run(ports, folder=repository, job_type="train", project="p", command=["x"]) as run:
        run.use_dataset(f"file://{tmp_path}/data", role="train")
    client = TestClient(create_app(ports), base_url="http://127.0.0.1")
    page = f"/pictures/sha256:{hashlib.sha256(contents[0]).hexdigest()}/alike"

    assert f"Compared with 0 of {len(contents)} other pictures" in words(client.get(page))
    hash_pictures(ports, ports.pictures(), [load_input(ports.objects, ports.runs.get(run.id), 0)])
    told = client.get(page)
    assert f"Compared with {len(contents)} of {len(contents)} other pictures" in words(told)
    first = re.search(r'<figure class="picture"><a href="/pictures/(sha256:[0-9a-f]{64})"', told.text)
    assert first is not None
    assert first[1] == f"sha256:{hashlib.sha256(copy.getvalue()).hexdigest()}"
    ports.runs.close()


def test_who_may_read_may_look_a_picture_up_and_datasets_stay_closed(store: Store) -> None:
    """With tokens: reading is enough to find a picture by its file. It is not shown, because no dataset is opened for strangers."""
    with closing(access_store(store.filled.settings)) as tokens:
        text, token = new_token("ada", frozenset({Scope.read}), datetime.now(UTC), None)
        tokens.add_token(token)
        client = TestClient(create_app(store.ports, tokens=tokens, need_tokens=True), base_url="http://127.0.0.1")
        mine = {"Authorization": f"Bearer {text}"}
        files = {"file": ("a.jpg", picture_file(store), "image/jpeg")}

        assert client.post("/pictures", files=files).status_code == 401
        found = client.post("/pictures", files=files, headers=mine, follow_redirects=False)
        assert (found.status_code, found.headers["location"]) == (303, f"/pictures/{store.filled.picture}")
        page = client.get(found.headers["location"], headers=mine)
        assert "It cannot be shown: " in words(page)
        assert store.ports.runs.get(store.filled.ids["tuned"]).name in words(page)
        assert client.get(f"{found.headers['location']}/image", headers=mine).status_code >= 400
