"""One spelling of a dataset's address."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineage.errors import UsageError
from lineage.model.dataset import local_path, normalise_uri


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        ("ds", "/base/ds"),
        ("./ds/", "/base/ds"),
        ("../ds", "/ds"),
        ("a/../b//c/.", "/base/b/c"),
        ("../../../../ds", "/ds"),
        ("/data/ds", "/data/ds"),
        ("file:///data/ds/", "/data/ds"),
        ("FILE:///data/ds", "/data/ds"),
        ("file://ds", "/base/ds"),
        ("a b/ü-駐車場", "/base/a b/ü-駐車場"),
        ("100%20/ds#1?x", "/base/100%20/ds#1?x"),
    ],
)
def test_a_local_folder_becomes_one_absolute_address(typed: str, folder: str) -> None:
    """Relative, ``..``, doubled slashes, ``file://`` in any case: one spelling, with nothing quoted or dropped."""
    assert normalise_uri(typed, Path("/base")) == f"file://{folder}"
    assert local_path(normalise_uri(typed, Path("/base"))) == Path(folder)


def test_relative_paths_start_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a base, a relative path starts where the process is."""
    monkeypatch.chdir(tmp_path)

    assert normalise_uri("ds") == f"file://{tmp_path}/ds"


@pytest.mark.parametrize("typed", ["~/ds", "file://~/ds"])
def test_the_home_folder_is_expanded(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep Lake would make a folder that is literally named ``~``."""
    monkeypatch.setenv("HOME", "/people/kim")

    assert normalise_uri(typed) == "file:///people/kim/ds"


def test_an_unknown_home_folder_is_one_clear_error() -> None:
    """``~nobody`` that does not exist is a usage error that names it."""
    with pytest.raises(UsageError, match="~nobody-of-this-name"):
        normalise_uri("~nobody-of-this-name/ds")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("s3://bucket/ds/", "s3://bucket/ds"),
        ("S3://Bucket/DS", "s3://Bucket/DS"),
        ("s3://AKIA:hunter22@bucket/a/ds", "s3://bucket/a/ds"),
        ("https://kim:pa:ss@host:8080/ds?token=hunter22", "https://host:8080/ds"),
        ("gcs://bucket/ds#1", "gcs://bucket/ds#1"),
        ("mem://name", "mem://name"),
        ("al://org/ds", "al://org/ds"),
    ],
)
def test_other_addresses_lose_credentials_and_nothing_else(typed: str, kept: str) -> None:
    """User names, passwords and query strings are dropped; host, port and the whole path stay."""
    assert normalise_uri(typed) == kept


@pytest.mark.parametrize("typed", ["s3://bucket/ds?user=kim@example.org", "s3://AKIA:hunter22@bucket/ds?signature=a@b"])
def test_an_at_sign_in_what_is_dropped_does_not_matter(typed: str) -> None:
    """Credentials and query strings may hold '@': they are not part of the address."""
    assert normalise_uri(typed) == "s3://bucket/ds"


@pytest.mark.parametrize(
    "typed",
    [
        "ds@main",
        "/data/ds@v1/",
        "file:///data/ds@abc",
        "s3://bucket/ds@branch",
        "job@2/ds",
        "/ci/job@2/x/ds",
        "s3://bucket/a@b/ds",
        "mem://a@b",
    ],
)
def test_an_at_sign_in_the_address_is_refused(typed: str) -> None:
    """Deep Lake reads what follows an '@' as a branch when it reads, and ignores it when it writes; in a parent folder too."""
    with pytest.raises(UsageError, match="@"):
        normalise_uri(typed)


@pytest.mark.parametrize("typed", ["s3://AKIA:hunter22@bucket", "s3://AKIA:hunter22@bucket@main/ds@x", "https://kim:hunter22@host"])
def test_an_error_never_shows_a_password(typed: str) -> None:
    """A refused address is quoted without its credentials."""
    try:
        shown = normalise_uri(typed)
    except UsageError as error:
        shown = f"{error.message} {error.hint}"

    assert "hunter22" not in shown


@pytest.mark.parametrize("typed", ["", "   "])
def test_an_empty_address_is_refused(typed: str) -> None:
    """Nothing typed is a usage error, not the working folder."""
    with pytest.raises(UsageError, match="empty"):
        normalise_uri(typed)


@pytest.mark.parametrize("typed", ["ds", "~/ds", "s3://a:b@bucket/ds/", "file:///x/../y", "mem://name", "gcs://b/c#1"])
def test_normalising_again_changes_nothing(typed: str) -> None:
    """The one spelling is its own spelling."""
    assert normalise_uri(normalise_uri(typed)) == normalise_uri(typed)


def test_links_are_kept_as_typed(tmp_path: Path) -> None:
    """A link is not resolved: a record must not be tied to one mount point."""
    (tmp_path / "disk7" / "ds").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk7")

    assert normalise_uri("data/ds", tmp_path) == f"file://{tmp_path}/data/ds"


def test_two_dots_after_a_link_mean_what_the_system_means(tmp_path: Path) -> None:
    """``link/../ds`` lies beside the link's target, where every program that opens it would look."""
    (tmp_path / "disk7" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk7" / "inner")
    (tmp_path / "disk7" / "ds").mkdir()
    (tmp_path / "ds").mkdir()

    address = normalise_uri("link/../ds", tmp_path)

    assert address == f"file://{(tmp_path / 'link' / '..' / 'ds').resolve()}"
