"""Signed records: by whom, over what, and whose records are executed without asking."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_public_key
from typer.testing import CliRunner

import lineage
from lineage.cli import app
from lineage.errors import CaptureError, Conflict, InvalidSource, LineageError, NotFound, UsageError
from lineage.model.event import Noted, chain_digest
from lineage.model.run import Run, RunState
from lineage.model.signing import SignedBy, make_envelope, signed_bytes
from lineage.ports import Ports
from lineage.record.signing import check_signatures, sign_run
from lineage.reproduce.bundle_file import BundleFile
from lineage.reproduce.bundle_import import import_bundle
from lineage.reproduce.replay import replay
from lineage.reproduce.trust import check_trust, require_trust
from lineage.reproduce.verify import Verifier
from lineage.settings import Settings
from lineage.wiring import keyring, wire

TRAIN = """
import lineage

with lineage.start_run(project="parking", seed=7) as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
    open("model.bin", "w").write("weights")
    run.log_artifact("model.bin", kind="model")
print(run.id)
"""


def invoke(*words: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, LineageError):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in words else result.stdout


@pytest.fixture
def ports(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Ports:
    """A store outside the repository, which is the current folder."""
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (repository / "train.py").write_text(TRAIN)
    (repository / ".gitignore").write_text(".lineage/\n*.bin\n")
    monkeypatch.chdir(repository)
    return wire()


def record(name: str = "a run") -> Run:
    with lineage.start_run(name=name, seed=1, config={"rate": 0.1}) as run:
        run.log({"loss": 1.0})
        Path("model.bin").write_text(name)
        run.log_artifact("model.bin", kind="model")
    return lineage.get(run.id)


def database(ports: Ports) -> sqlite3.Connection:
    return sqlite3.connect(ports.runs.location)


def rewrite(ports: Ports, run_id: str, change: Callable[[int, str], str], *, mend: bool) -> None:
    """Edit the stored payloads of a record; ``mend`` also recomputes the chain, as somebody does who knows how."""
    connection = database(ports)
    previous: str | None = None
    for number, payload, digest in connection.execute(
        "SELECT number, payload, digest FROM events WHERE run_id = ? ORDER BY number", (run_id,)
    ).fetchall():
        altered = change(number, payload)
        previous = chain_digest(previous, altered) if mend else digest
        connection.execute("UPDATE events SET payload = ?, digest = ? WHERE run_id = ? AND number = ?", (altered, previous, run_id, number))
    connection.commit()
    connection.close()


# --- keys ----------------------------------------------------------------------------------------------------------------------


def test_a_key_is_made_shown_exported_and_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private half is readable by its owner alone; what is exported is public and has the same name everywhere."""
    made = invoke("keys", "new", "--json")
    file = Path(made["file"])
    exported = invoke("keys", "export")
    (tmp_path / "alice.pub").write_text(exported)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" in file.read_text()
    assert "PRIVATE" not in exported
    with pytest.raises(Conflict, match="a key 'default' already"):
        invoke("keys", "new")
    monkeypatch.setenv("LINEAGE_KEYS", str(tmp_path / "of-bob"))
    trusted = invoke("keys", "trust", tmp_path / "alice.pub", "--json")
    assert invoke("keys", "trust", tmp_path / "alice.pub", "--json") == trusted
    listed = invoke("keys", "list", "--json")
    assert [(key["name"], key["key"], key["is_own"]) for key in listed] == [("alice", made["key"], False)]
    assert invoke("keys", "export", "alice") == exported


def test_other_files_are_not_trusted(tmp_path: Path) -> None:
    """A private key is named as one; a key of another kind, a picture, nothing, and a second key of one name are refused."""
    own = Ed25519PrivateKey.generate()
    (tmp_path / "private.pem").write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    rsa = generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rsa.pem").write_bytes(rsa)
    (tmp_path / "picture.pem").write_bytes(b"\x89PNG" + bytes(100))
    (tmp_path / "good.pem").write_bytes(own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "other.pem").write_bytes(
        Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

    with pytest.raises(InvalidSource, match="a private key: do not send it around"):
        invoke("keys", "trust", tmp_path / "private.pem")
    with pytest.raises(InvalidSource, match="another kind than Ed25519"):
        invoke("keys", "trust", tmp_path / "rsa.pem")
    with pytest.raises(InvalidSource, match="something else"):
        invoke("keys", "trust", tmp_path / "picture.pem")
    with pytest.raises(NotFound):
        invoke("keys", "trust", tmp_path / "none.pem")
    with pytest.raises(UsageError, match="cannot be called"):
        invoke("keys", "trust", tmp_path / "good.pem", "--name", "../../x")
    invoke("keys", "trust", tmp_path / "good.pem", "--name", "bob")
    with pytest.raises(Conflict):
        invoke("keys", "trust", tmp_path / "other.pem", "--name", "bob")


# --- signing -------------------------------------------------------------------------------------------------------------------


def test_runs_are_signed_by_themselves_where_there_is_a_key(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key nothing happens; with one every run that ends; LINEAGE_SIGN says off, or another key."""
    assert record().signatures == ()
    made = [invoke("keys", "new", name, "--json")["key"] for name in ("default", "work")]

    (check,) = check_signatures(ports, record())
    monkeypatch.setenv("LINEAGE_SIGN", "work")
    (other,) = check_signatures(wire(), record())
    monkeypatch.setenv("LINEAGE_SIGN", "off")

    assert (check.status, check.key, check.signer, check.later) == ("valid", made[0], "default", 0)
    assert (other.key, other.signer) == (made[1], "work")
    assert record().signatures == ()


def test_the_envelope_is_what_other_tools_read(ports: Ports) -> None:
    """DSSE over an in-toto statement with SLSA provenance; checked here without our own code."""
    invoke("keys", "new")
    run = record()
    envelope = json.loads(ports.objects.get_bytes(run.signatures[0].envelope))
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)

    signed = b"DSSEv1 28 application/vnd.in-toto+json " + str(len(payload)).encode() + b" " + payload
    public = load_pem_public_key(invoke("keys", "export").encode())
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)  # type: ignore[union-attr, call-arg]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert (statement["_type"], statement["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    head = ports.runs.events(run.id)[-2][1]
    digests = {subject["name"]: f"sha256:{subject['digest']['sha256']}" for subject in statement["subject"]}
    assert digests == {f"run/{run.id}": head, "model.bin": run.outputs[0].digest}
    build = statement["predicate"]["buildDefinition"]
    needs = {item["name"]: item["digest"] for item in build["resolvedDependencies"]}
    assert run.code is not None
    assert run.environment is not None
    assert build["externalParameters"]["command"] == list(run.command)
    assert needs["code"] == {"gitCommit": run.code.snapshot_sha, "gitTree": run.code.tree_sha}
    assert needs["environment"] == {"sha256": run.environment.digest.partition(":")[2]}
    assert statement["predicate"]["runDetails"]["metadata"]["invocationId"] == run.id


def test_what_is_signed_is_spelled_as_the_standard_says() -> None:
    """The pre-authentication encoding, by the standard's own example with our payload type."""
    assert signed_bytes(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_a_record_is_signed_later_and_by_several(ports: Ports) -> None:
    """What was added since is counted; a new signature covers it."""
    run = record()
    invoke("keys", "new", "a")
    invoke("keys", "new", "b")
    invoke("sign", run.id, "--key", "a")
    ports.runs.append(run.id, Noted(at=run.started_at, note="looked at"))
    with pytest.raises(UsageError, match="a new file"):
        invoke("sign", run.id, "--key", "b", "--output", "train.py")
    told = invoke("sign", run.id[:8], "--key", "b", "--output", "b.json", "--json")

    first, second = check_signatures(ports, ports.runs.get(run.id))

    assert (first.signer, first.later, second.signer, second.later) == ("a", 1, "b", 0)
    assert told["signer"] == "b"
    assert Path("b.json").read_bytes() == ports.objects.get_bytes(ports.runs.get(run.id).signatures[-1].envelope)
    shown = invoke("verify", run.id)
    assert "signed by 'a'" in shown
    assert "1 later events are not covered" in shown
    with pytest.raises(NotFound, match="no key 'c'"):
        invoke("sign", run.id, "--key", "c")


def test_a_run_that_goes_on_is_not_signed(ports: Ports) -> None:
    invoke("keys", "new")
    with lineage.start_run() as run, pytest.raises(Conflict, match="still running"):
        sign_run(ports, run.id, "default")


def test_a_key_that_cannot_be_used_does_not_harm_a_run(ports: Ports) -> None:
    """It is noted, without a word of what the file holds; listing keys names it."""
    file = Path(invoke("keys", "new", "--json")["file"])
    file.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHdvcmRz\n-----END PRIVATE KEY-----\n")

    run = record()

    assert run.state is RunState.finished
    assert run.signatures == ()
    assert any(note.startswith("not signed: ") for note in run.notes)
    assert "c2VjcmV0" not in json.dumps(run.model_dump(mode="json"))
    (listed,) = invoke("keys", "list", "--json", code=9)
    assert "cannot be read" in listed["problem"]
    with pytest.raises(CaptureError):
        sign_run(ports, run.id, "default")


# --- altered -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(ports: Ports) -> Run:
    invoke("keys", "new")
    return record()


def problems(ports: Ports, run: Run) -> dict[str, str]:
    found = Verifier(ports, "full").verify(run)
    return {check.subject: f"{check.found} {' '.join(check.detail)}" for check in found.checks if check.status != "intact"}


def test_an_altered_event_is_named(ports: Ports, signed: Run) -> None:
    rewrite(ports, signed.id, lambda number, payload: payload.replace("0.1", "0.2") if number == 0 else payload, mend=False)
    assert "event 0: expected" in problems(ports, signed)["record"]
    assert "event 0: expected" in problems(ports, signed)["signature"]


def test_a_record_that_was_written_anew_does_not_fit_its_signature(ports: Ports, signed: Run) -> None:
    """The chain was computed again and fits; the head that was signed is not in it."""
    rewrite(ports, signed.id, lambda number, payload: payload.replace("0.1", "0.2") if number == 0 else payload, mend=True)
    found = problems(ports, signed)
    assert "written anew after it was signed" in found["signature"]
    assert invoke("verify", signed.id, "--json", code=9)["intact"] is False


def test_an_envelope_that_was_changed_is_found(ports: Ports, signed: Run) -> None:
    """The statement with another output, under the old signature; and an envelope that is none."""
    envelope = json.loads(ports.objects.get_bytes(signed.signatures[0].envelope))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][1]["digest"]["sha256"] = "0" * 64
    altered = envelope | {"payload": base64.b64encode(json.dumps(statement).encode()).decode()}
    for content, told in ((json.dumps(altered).encode(), "one of the key's over the statement"), (b"{}", "a DSSE envelope")):
        other = ports.objects.put_bytes(content)
        forged = signed.model_copy(update={"signatures": (signed.signatures[0].model_copy(update={"envelope": other}),)})
        (check,) = check_signatures(ports, forged)
        assert check.status == "wrong"
        assert told in str(check.reason)


def test_a_signature_of_another_run_does_not_count(ports: Ports, signed: Run) -> None:
    other = record("another run")
    forged = signed.model_copy(update={"signatures": other.signatures})
    assert check_signatures(ports, forged)[0].status == "wrong"


def test_a_statement_that_names_another_output_is_found(ports: Ports, signed: Run) -> None:
    """Signed by a known key over the right record, but not what the run made."""
    envelope = json.loads(ports.objects.get_bytes(signed.signatures[0].envelope))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][1]["digest"]["sha256"] = "0" * 64
    payload = json.dumps(statement).encode()
    made = ports.keys.sign(signed_bytes(payload), "default")
    digest = ports.objects.put_bytes(make_envelope(payload, made))
    forged = signed.model_copy(update={"signatures": (signed.signatures[0].model_copy(update={"envelope": digest}),)})
    assert "output 'model.bin'" in str(check_signatures(ports, forged)[0].reason)


def test_a_lost_envelope_is_not_a_wrong_one(ports: Ports, signed: Run) -> None:
    ports.objects.delete(signed.signatures[0].envelope)
    assert check_signatures(ports, signed)[0].status == "unchecked"
    assert "signature" in problems(ports, signed)


# --- trust ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(ports: Ports, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A signed bundle, the signer's public key, and another account with a store of its own; the repository is gone."""
    invoke("keys", "new")
    done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True, check=True, timeout=60)
    file, key = tmp_path / "run.lineage", tmp_path / "alice.pub"
    invoke("bundle", done.stdout.strip(), file)
    key.write_text(invoke("keys", "export"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "of-bob"))
    monkeypatch.setenv("LINEAGE_KEYS", str(tmp_path / "keys-of-bob"))
    shutil.rmtree(repository)
    shutil.rmtree(tmp_path / "store")
    return {"file": file, "key": key, "run": done.stdout.strip()}


def test_a_foreign_record_runs_when_its_signer_is_trusted(foreign: dict[str, Any]) -> None:
    """Signed by nobody known: blocked, the command shown, nothing run. Then its key is trusted."""
    refused = CliRunner().invoke(app, ["reproduce", str(foreign["file"])])
    invoke("keys", "trust", foreign["key"])
    done = CliRunner().invoke(app, ["reproduce", str(foreign["file"])])

    assert refused.exit_code == 4, refused.output
    assert "python train.py" in refused.stderr
    assert "an unknown key" in refused.stdout
    assert "nothing was run" in refused.stdout
    assert done.exit_code == 0, done.output
    assert "signed by 'alice'" in done.stderr
    assert "verdict: identical" in done.stdout


def test_importing_does_not_make_a_record_trusted(foreign: dict[str, Any]) -> None:
    """In the own store it stays foreign, for reproducing and for replaying, until its signer is trusted or somebody says so."""
    run_id = invoke("import", foreign["file"]).strip()
    ports = wire()
    run = ports.runs.get(run_id)

    (item,) = check_trust(ports, run)
    (vouched,) = check_trust(ports, run, is_vouched=True)
    assert (item.severity, vouched.severity) == ("blocker", "note")
    assert CliRunner().invoke(app, ["reproduce", run_id]).exit_code == 4
    refused = CliRunner().invoke(app, ["calibrate", run_id, "-n", "2"])
    assert (refused.exit_code, "repetition 1 is blocked: trust different" in refused.output) == (4, True)
    with pytest.raises(UsageError, match="an unknown key"):
        require_trust(ports, run)
    with pytest.raises(UsageError, match="an unknown key"):
        replay(ports, run, [], rank=0, folder=Path("out"), variables={})
    invoke("keys", "trust", foreign["key"])
    ports = wire()
    assert check_trust(ports, run)[0].severity == "none"
    require_trust(ports, run)


def test_calibrating_a_foreign_record_is_vouched_for(foreign: dict[str, Any]) -> None:
    """It executes the command: nobody trusted signed the record, and the caller says yes."""
    run_id = invoke("import", foreign["file"]).strip()

    assert "largest spread" in invoke("calibrate", run_id, "-n", "2", "--yes")


def test_vouching_does_not_help_what_was_altered(foreign: dict[str, Any], tmp_path: Path) -> None:
    """A bundle whose record was rewritten keeps the old signature: refused even when the caller says yes."""
    invoke("keys", "trust", foreign["key"])
    folder = tmp_path / "third"
    ports = wire(Settings(str(folder), folder))
    with BundleFile(foreign["file"]) as bundle:
        import_bundle(ports, bundle)
    rewrite(ports, foreign["run"], lambda number, payload: payload.replace('"seed":7', '"seed":8'), mend=True)

    (item,) = check_trust(ports, ports.runs.get(foreign["run"]), is_vouched=True)

    assert (item.severity, item.status) == ("blocker", "changed")


def test_later_events_of_a_trusted_record_are_told(foreign: dict[str, Any], tmp_path: Path) -> None:
    invoke("keys", "trust", foreign["key"])
    folder = tmp_path / "third"
    ports = wire(Settings(str(folder), folder))
    with BundleFile(foreign["file"]) as bundle:
        run = import_bundle(ports, bundle).run
    grown = ports.runs.append(run.id, Noted(at=run.started_at, note="later"))
    (item,) = check_trust(ports, grown)
    assert item.severity == "note"
    assert "1 events were added after it was signed" in item.detail[0]


def test_without_the_package_a_signature_counts_for_nothing(foreign: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is missing; nothing is executed unasked."""
    run_id = invoke("import", foreign["file"]).strip()
    invoke("keys", "trust", foreign["key"])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "cryptography" else find(name, *more))
    ports = wire()

    (item,) = check_trust(ports, ports.runs.get(run_id))

    assert item.severity == "blocker"
    assert "cryptography" in item.found


def test_own_runs_need_no_signature(ports: Ports) -> None:
    run = record()
    assert check_trust(ports, run) == []
    require_trust(ports, run)


def test_a_signature_needs_the_very_message() -> None:
    """One byte of message, key or signature more or less, and it is none."""
    keys = keyring()
    keys.new("default")
    made = keys.sign(b"message", "default")
    assert keys.is_valid(b"message", made)
    assert not keys.is_valid(b"massage", made)
    assert not keys.is_valid(b"message", SignedBy(made.public_key, made.signature[:-1]))
    assert not keys.is_valid(b"message", SignedBy(bytes(31), made.signature))
    assert keys.name_of(bytes(32)) is None
    assert keys.name_of(made.public_key) == "default"


def test_only_an_ended_record_takes_a_signature(ports: Ports, signed: Run) -> None:
    """The event fits a record that is over, as often as wanted; the chain goes on behind it."""
    events = ports.runs.events(signed.id)
    kinds = [json.loads(payload)["kind"] for payload, _ in events]
    assert kinds[-1] == "signed"
    assert kinds.index("ended") == len(kinds) - 2


def test_a_key_that_is_trusted_no_more_does_not_vouch(foreign: dict[str, Any]) -> None:
    """By name, or by the beginning of its id; what it signed needs --yes again."""
    invoke("keys", "trust", foreign["key"], "--name", "colleague")
    plan = invoke("reproduce", foreign["file"], "--plan", "--json")
    assert plan["plan"]["blockers"] == []

    told = invoke("keys", "forget", "colleague", "--json")

    assert [key["name"] for key in told] == ["colleague"]
    assert "trust different: unsigned" not in invoke("reproduce", foreign["file"], "--plan", code=4)
    assert "an unknown key" in invoke("reproduce", foreign["file"], "--plan", code=4)
    invoke("keys", "trust", foreign["key"], "--name", "again")
    invoke("keys", "forget", told[0]["key"][:20])
    assert [key["name"] for key in invoke("keys", "list", "--json") if not key["is_own"]] == []
    with pytest.raises(NotFound):
        invoke("keys", "forget", "again")


def test_an_own_key_is_not_forgotten(ports: Ports) -> None:
    """The private half cannot be had again: nothing but the user's own hand deletes it."""
    invoke("keys", "new", "mine")
    with pytest.raises(UsageError, match="a key of this account"):
        invoke("keys", "forget", "mine")
    assert [key.name for key in keyring().all()] == ["mine"]


def test_an_encrypted_key_signs_with_its_passphrase_only(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, or with another one, a run is recorded and says why it is not signed; the key's file shows nothing of it."""
    monkeypatch.setenv("LINEAGE_KEY_PASSPHRASE", "correct horse battery")
    made = invoke("keys", "new", "--passphrase", "--json")
    content = Path(made["file"]).read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in content
    assert b"BEGIN PRIVATE KEY" not in content
    assert [check.words.partition(" (")[0] for check in check_signatures(ports, record())] == ["signed by 'default'"]

    monkeypatch.delenv("LINEAGE_KEY_PASSPHRASE")
    unsigned = record("without")
    assert unsigned.signatures == ()
    assert unsigned.state is RunState.finished
    assert any("not signed" in note and "encrypted, and no passphrase was given" in note for note in unsigned.notes)
    monkeypatch.setenv("LINEAGE_KEY_PASSPHRASE", "another one")
    assert any("the passphrase does not open the key" in note for note in record("with another").notes)
    assert [(key["is_encrypted"], key["problem"]) for key in invoke("keys", "list", "--json")] == [(True, None)]
    assert load_pem_public_key(invoke("keys", "export").encode()) is not None

    with pytest.raises(CaptureError, match="does not open"):
        invoke("sign", unsigned.id)
    monkeypatch.setenv("LINEAGE_KEY_PASSPHRASE", "correct horse battery")
    assert invoke("sign", unsigned.id, "--json")["status"] == "valid"
    found = [file for file in ports.folder.rglob("*") if file.is_file() and b"horse battery" in file.read_bytes()]
    assert found == []


def test_other_tools_read_an_encrypted_key(ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openssl opens it with the passphrase, and finds the same public half."""
    monkeypatch.setenv("LINEAGE_KEY_PASSPHRASE", "correct horse battery")
    made = invoke("keys", "new", "--json")
    words = ["openssl", "pkey", "-in", made["file"], "-passin", "env:LINEAGE_KEY_PASSPHRASE", "-pubout"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == invoke("keys", "export")


def test_without_a_terminal_no_passphrase_is_asked_for(ports: Ports) -> None:
    """Nor is a key made that is not encrypted, though it should be."""
    with pytest.raises(UsageError, match="nobody can be asked"):
        invoke("keys", "new", "--passphrase")
    assert keyring().all() == []
