"""What is kept out of records."""

from __future__ import annotations

import pytest

from lineage.model.secrets import REDACTED, is_secret_name, redact_command, redact_text, redact_values


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "db.password", "token", "--token", "--api-key", "--api_key", "api_key", "apikey", "apiKey",
        "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "aws-secret-access-key", "accessToken", "auth", "Authorization",
        "credentials", "credential", "private_key", "client.secret", "hf_token", "passphrase",
    ],
)  # fmt: skip
def test_secret_names(name: str) -> None:
    """Names of secrets in every usual spelling: snake, kebab, dotted, camel, capitals."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "tokens",
        "tokenizer",
        "author",
        "keyboard",
        "key",
        "keypoints",
        "monkey",
        "authored",
        "lr",
        "secretary",
        "passes",
        "bypass",
    ],
)
def test_ordinary_names(name: str) -> None:
    """Words that only look alike stay in the record."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "command",
    [
        ["python", "train.py", "--token", "hunter22"],
        ["python", "train.py", "--token=hunter22"],
        ["python", "train.py", "--api-key", "hunter22"],
        ["python", "train.py", "--api-key=hunter22"],
        ["python", "train.py", "wandb.api_key=hunter22"],
        ["env", "API_KEY=hunter22", "python", "train.py"],
        ["python", "train.py", "--store", "postgresql://kim:hunter22@db/runs"],
        ["python", "train.py", "--store", "postgresql://kim:p@hunter22@db/runs"],
        ["python", "train.py", "https://host/ds?token=hunter22&x=1"],
        ["python", "train.py", "https://host/ds?X-Amz-Security-Token=hunter22"],
        ["curl", "--header", "Authorization: Bearer hunter22"],
        ["python", "train.py", "--password", "-hunter22"],
    ],
)
def test_a_command_line_keeps_no_secret(command: list[str]) -> None:
    """As the next word, behind an equals sign with or without dashes, in an address, in a header: the secret is gone, the rest stays."""
    kept = redact_command(command)

    assert not any("hunter22" in word for word in kept)
    assert any(REDACTED in word for word in kept)
    assert len(kept) == len(command)
    assert kept[0] == command[0]


def test_an_ordinary_command_line_stays_as_it_is() -> None:
    """Nothing is redacted that is no secret: a reproduction needs every word."""
    command = (
        "python",
        "-m",
        "train",
        "--max-tokens",
        "5",
        "--lr=0.1",
        "model.lr=0.2",
        "s3://bucket/ds",
        "--author",
        "kim@example.org",
        "a=b",
    )

    assert redact_command(command) == command


def test_an_option_after_a_secret_flag_is_no_secret() -> None:
    """``--token`` without a value does not swallow the next option."""
    assert redact_command(["run", "--token", "--lr", "0.1"]) == ("run", "--token", "--lr", "0.1")


def test_values_of_secret_variables_are_found_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that some secret variable of this process holds is removed from any text, whatever it stands under."""
    monkeypatch.setenv("SOME_API_KEY", "abcdefgh-0123")

    assert redact_text("using abcdefgh-0123 now") == f"using {REDACTED} now"
    assert redact_values({"note": ["x abcdefgh-0123"]}) == {"note": [f"x {REDACTED}"]}


def test_a_secret_that_begins_like_another_is_removed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longer of two values is looked for first, or its tail would stay."""
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefgh-and-more")

    assert "more" not in redact_text("x abcdefgh-and-more y")


def test_short_values_of_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable such as ``TOKENIZERS_PARALLELISM=false`` must not remove the word from every text."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    assert redact_text("flag false") == "flag false"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://kim:hunter22@db/runs", f"postgresql://{REDACTED}@db/runs"),
        ("see https://tok@host/x and s3://a:b@c/d", f"see https://{REDACTED}@host/x and s3://{REDACTED}@c/d"),
        ("https://host/a@b", "https://host/a@b"),
        ("mail kim@example.org", "mail kim@example.org"),
    ],
)
def test_credentials_in_addresses(text: str, kept: str) -> None:
    """Only what stands before the host of an address goes."""
    assert redact_text(text) == kept


def test_a_configuration_keeps_no_secret_at_any_depth() -> None:
    """Strings under secret names go, also inside lists and mappings below such a name; everything else stays as it is."""
    config = {
        "lr": 0.1,
        "api_key": "hunter22",
        "db": {"password": "hunter22", "host": "db", "port": 5432},
        "stores": [{"token": "hunter22"}, "s3://k:hunter22@bucket"],
        "credentials": {"user": "hunter22", "pairs": ["hunter22", 3]},
        "password": 22222222,
        "max_tokens": 5,
        "token": None,
        "auth": True,
    }

    kept = redact_values(config)

    assert "hunter22" not in repr(kept)
    assert "22222222" not in repr(kept)
    assert kept["lr"] == 0.1
    assert kept["db"]["host"] == "db"
    assert kept["db"]["port"] == 5432
    assert (kept["max_tokens"], kept["token"], kept["auth"]) == (5, None, True)
    assert config["api_key"] == "hunter22", "the caller's own mapping is not changed"
