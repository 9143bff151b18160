"""Commands with a service as store: they do there what they do here, or say in one line why not; over HTTPS, too."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI

from lineage.model.access import Scope, new_token
from lineage.ports import Ports
from lineage.reproduce.verify import Verifier
from lineage.settings import Settings
from lineage.wiring import access_store, wire
from service.app import create_app
from tests.support.serving import serving

TRAIN = """
import pathlib, lineage
with lineage.start_run(project="parking", job_type="train", seed=7) as run:
    run.log({"loss": 0.5})
    pathlib.Path("model.bin").write_text("weights")
    run.log_artifact("model.bin", kind="model")
print(run.id)
"""


@dataclass
class Machine:
    """Somebody's machine: a folder, and the variables that lead to the service."""

    folder: Path
    store: str
    more: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("LINEAGE_")}
        variables |= {"LINEAGE_STORE": self.store, "LINEAGE_FOLDER": str(self.folder / ".lineage"), **self.more}
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=100, check=False)

    def lineage(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "lineage", *words)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Ports]:
    ports = wire(Settings(str(tmp_path / "team"), tmp_path / "team"))
    yield ports
    ports.runs.close()


# --- over HTTPS -----------------------------------------------------------------------------------------------------------------


def make_authority(folder: Path) -> tuple[Path, Path, Path]:
    """An authority of one's own and a server's certificate by it: (authority's, server's, server's key)."""
    now = dt.datetime.now(dt.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    own, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    drafts = (
        x509.CertificateBuilder(name("own"), name("own"), own.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False),
        x509.CertificateBuilder(name("own"), name("127.0.0.1"), key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False),
    )
    files = folder / "authority.pem", folder / "server.pem"
    for draft, file in zip(drafts, files, strict=True):
        made = draft.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        certificate = made.not_valid_after(now + dt.timedelta(days=1)).sign(own, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, plain))
    return *files, folder / "server.key"


@contextmanager
def serving_tls(app: FastAPI, certificate: Path, key: Path) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ssl_certfile=certificate, ssl_keyfile=str(key))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def test_a_run_goes_to_a_service_behind_tls_with_an_authority_of_its_own(team: Ports, tmp_path: Path, repository: Path) -> None:
    """With the authority's certificate in SSL_CERT_FILE and a token; without either there is one line, at once, and the run stays here."""
    authority, certificate, key = make_authority(tmp_path)
    tokens = access_store(Settings(str(tmp_path / "team"), tmp_path / "team"))
    text, token = new_token("trainer", frozenset({Scope.record}), dt.datetime.now(dt.UTC), None)
    tokens.add_token(token)
    with serving_tls(create_app(team, tokens=tokens, need_tokens=True), certificate, key) as address:
        allowed = {"SSL_CERT_FILE": str(authority), "LINEAGE_TOKEN": text}
        trained = Machine(repository, address, allowed).run(sys.executable, "-c", TRAIN)
        assert trained.returncode == 0, trained.stderr
        run_id = trained.stdout.strip()
        assert team.runs.get(run_id).state == "finished"
        assert team.objects.get_bytes(team.runs.get(run_id).outputs[0].digest) == b"weights"

        for lacking, expected in (("SSL_CERT_FILE", "certificate"), ("LINEAGE_TOKEN", "there is no token")):
            began = time.monotonic()
            poor = {name: value for name, value in allowed.items() if name != lacking}
            refused = Machine(repository, address, poor).lineage("runs")
            assert (refused.returncode, refused.stdout) == (11, ""), refused.stderr
            assert expected in refused.stderr
            assert lacking in refused.stderr
            assert text not in refused.stderr
            assert time.monotonic() - began < 30
    tokens.close()


# --- what changes something at the service ------------------------------------------------------------------------------------------


def test_what_is_signed_imported_and_pushed_elsewhere_is_whole_at_the_service(team: Ports, tmp_path: Path, repository: Path) -> None:
    """Objects that a change names come with it: the service alone can verify the record, without the machine that changed it."""
    (tmp_path / "b").mkdir()
    with serving(create_app(team)) as address:
        here, there = Machine(repository, address), Machine(tmp_path / "b", address)
        run_id = here.run(sys.executable, "-c", TRAIN).stdout.strip()

        def do(machine: Machine, *words: str) -> str:
            done = machine.lineage(*words)
            assert done.returncode == 0, done.stderr
            return done.stdout

        do(there, "keys", "new", "ada")
        do(there, "sign", run_id, "--key", "ada")
        for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
            assert there.run(*command).returncode == 0
        added = there.run(sys.executable, "-m", "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
        assert added.returncode == 0, added.stderr
        do(there, "push", run_id)

        # A record that was made without the service is given to it in a bundle.
        alone = Machine(repository, str(tmp_path / "alone"))
        other = alone.run(sys.executable, "-c", TRAIN).stdout.strip()
        do(alone, "bundle", other, str(tmp_path / "other.bundle"))
        do(there, "import", str(tmp_path / "other.bundle"))

        signed = team.runs.get(run_id)
        assert len(signed.signatures) == len(signed.pushes) == 1
        for found in (signed, team.runs.get(other)):
            checks = {
                check.subject: check.status
                for check in Verifier(team, "full").verify(found).checks
                if check.subject in ("record", "objects")
            }
            assert checks == {"record": "intact", "objects": "intact"}, found.id

        # What tidies up does so on its own machine, and leaves what the service needs.
        kept = {digest for digest, *_ in team.objects.all()}
        do(there, "gc")
        assert {digest for digest, *_ in team.objects.all()} == kept
        refused = there.lineage("archive", run_id)
        assert refused.returncode == 2
        assert "names a service" in refused.stderr
        assert json.loads(do(there, "runs", "--code", signed.code.tree_sha[:8] if signed.code else "", "--json"))[-1]["id"] == run_id
        do(there, "show", run_id)
