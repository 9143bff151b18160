"""Where pictures of rows are read, and where not. Beside the browser's tests, because it needs their store; it needs no browser."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from lineage.errors import Unavailable
from lineage.ports import DatasetBackend, Ports
from lineage.reproduce.archive import archive_run
from service.app import create_app
from service.row_pictures import RowPictures
from tests.support.filled_store import Filled

AS_BROWSER = {"Accept": "text/html"}


@pytest.fixture
def ports(filled: Filled) -> Iterator[Ports]:
    opened = filled.ports()
    yield opened
    opened.runs.close()


def test_where_tokens_are_needed_only_kept_copies_are_read(filled: Filled, ports: Ports) -> None:
    """No address of a record is opened there: the page says so, until the rows are archived; then it shows them, byte for byte."""
    run = ports.runs.get(filled.ids["tuned"])
    own, team = (
        TestClient(create_app(ports, need_tokens=needs), base_url="http://127.0.0.1", headers=AS_BROWSER) for needs in (False, True)
    )
    place = f"/runs/{run.id}/inputs/1/pictures/3"

    assert own.get(place).status_code == 200
    refused = team.get(f"/runs/{run.id}/pictures?input=1")
    assert (refused.status_code, "opens no dataset where tokens are needed" in refused.text) == (200, True)
    assert team.get(place).status_code == 404
    archive_run(ports, run)
    kept = team.get(place)
    assert (kept.status_code, kept.headers["content-type"], kept.headers["x-content-type-options"]) == (200, "image/jpeg", "nosniff")
    assert kept.content == own.get(place).content
    row = RowPictures(ports, opens_datasets=False).rows(run, 1, [3])[0]
    assert row.digest == f"sha256:{hashlib.sha256(kept.content).hexdigest()}"
    assert all(box.left >= 0 and box.left + box.width <= row.width + 1 and box.label for box in row.boxes)


@pytest.mark.parametrize("place", ["inputs/2/pictures/0", "inputs/0/pictures/12", "pictures?input=2"])
def test_rows_that_are_not_there_are_not_found(filled: Filled, ports: Ports, place: str) -> None:
    """A number beyond what the record has is answered with 404, before anything is opened."""
    client = TestClient(create_app(ports), base_url="http://127.0.0.1", headers=AS_BROWSER)

    assert client.get(f"/runs/{filled.ids['tuned']}/{place}").status_code == 404


def test_a_dataset_that_takes_long_to_open_holds_up_nobody_for_long(filled: Filled, ports: Ports) -> None:
    """Who waits for pictures of others is told to come back; what was read before is given at once."""
    asked, opened = threading.Event(), threading.Event()

    def slow() -> DatasetBackend:
        asked.set()
        assert opened.wait(20)
        return ports.datasets()

    run = ports.runs.get(filled.ids["tuned"])
    pictures = RowPictures(dataclasses.replace(ports, datasets=slow), opens_datasets=True, patience_s=0.05)
    opened.set()
    first = pictures.content(run, 0, 1)
    asked.clear()
    opened.clear()
    reading = threading.Thread(target=pictures.rows, args=(run, 1, [0]))
    reading.start()
    try:
        assert asked.wait(20)
        with pytest.raises(Unavailable, match="takes long"):
            pictures.rows(run, 0, [2])
        assert pictures.content(run, 0, 1) == first
    finally:
        opened.set()
        reading.join(20)
