"""Signatures over records: an in-toto statement with SLSA provenance, in a DSSE envelope, as other tools read them.

What is signed is the head of a record's chain of events, and with it everything the record says; and the digests of what the run made.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from lineage.errors import IntegrityError
from lineage.model.digest import Digest, canonical_json, digest_of_bytes
from lineage.model.run import Run

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:dataset-lineage:run:1"
BUILDER = "urn:dataset-lineage:recorder"


class SignedBy(NamedTuple):
    """A signature as an envelope holds it.

    Attributes:
        public_key: Ed25519, 32 bytes.
        signature: 64 bytes.
    """

    public_key: bytes
    signature: bytes


class SignatureCheck(BaseModel):
    """What is known of one signature of a record.

    Attributes:
        status: ``valid``; ``wrong``: the record or the envelope was changed since; ``unchecked``: it could not be looked at.
        key: Name of the key (:func:`key_id`).
        signer: What this account calls the key; ``None`` for an unknown one.
        covers: How many events of the record it covers, from the first; 0 unless it is valid.
        later: How many events came after those, other signatures not counted.
        reason: Why it is not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: str
    key: str
    signer: str | None = None
    covers: int = 0
    later: int = 0
    reason: str | None = None

    @property
    def words(self) -> str:
        """In short, for people."""
        who = f"'{self.signer}' (key {self.key[7:23]})" if self.signer else f"an unknown key ({self.key[7:23]})"
        if self.status != "valid":
            return f"signature of {who}: {self.reason}"
        return f"signed by {who}" + (f"; {self.later} later events are not covered" if self.later else "")


def key_id(public_key: bytes) -> str:
    """The name of a key: the digest of its 32 bytes."""
    return digest_of_bytes(public_key)


def statement_of(run: Run, head: str, release: str) -> dict[str, Any]:
    """What is said of a run that is over: in-toto Statement v1 with the predicate SLSA provenance v1.

    Args:
        run: Its record.
        head: Digest of the record's last event.
        release: Of this software.
    """
    subjects = [{"name": f"run/{run.id}", "digest": {"sha256": _hex(head)}}]
    subjects += [{"name": item.name, "digest": {"sha256": _hex(item.digest)}} for item in run.outputs]
    needs: list[dict[str, Any]] = []
    if run.code is not None:
        code = run.code
        needs.append({"name": "code", "uri": code.repository, "digest": {"gitCommit": code.snapshot_sha, "gitTree": code.tree_sha}})
        if code.git_sha is not None and code.git_sha != code.snapshot_sha:
            needs.append({"name": "code/committed", "uri": code.repository, "digest": {"gitCommit": code.git_sha}})
    if run.environment is not None:
        needs.append({"name": "environment", "digest": {"sha256": _hex(run.environment.digest)}})
    for item in run.inputs:
        names = {"commit_id": item.commit_id, "view_id": item.view_id, "rows": item.rows, "rows_digest": item.rows_digest}
        needs.append({"name": f"data/{item.role}", "uri": item.uri, "digest": {"sha256": _hex(item.content_digest)}, "annotations": names})
    needs += [{"name": f"file/{used.role}", "uri": used.path, "digest": {"sha256": _hex(used.digest)}} for used in run.uses]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": list(run.command), "working_directory": run.working_directory, "seed": run.seed},
                "internalParameters": {"fingerprint": run.fingerprint},
                "resolvedDependencies": needs,
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"dataset-lineage": release}},
                "metadata": {
                    "invocationId": run.id,
                    "startedOn": run.started_at.isoformat(),
                    "finishedOn": None if run.ended_at is None else run.ended_at.isoformat(),
                },
                "byproducts": [{"name": "record", "digest": {"sha256": _hex(head)}}],
            },
        },
    }


def signed_bytes(payload: bytes) -> bytes:
    """What a DSSE signature of a statement is made over (its pre-authentication encoding)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def make_envelope(payload: bytes, made: SignedBy) -> bytes:
    """A DSSE envelope as JSON."""
    signature = {"keyid": key_id(made.public_key), "sig": base64.b64encode(made.signature).decode()}
    return canonical_json({"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def read_envelope(content: bytes, key: str) -> tuple[bytes, bytes]:
    """(statement, signature of the key with this name) of a DSSE envelope.

    Raises:
        IntegrityError: It is none, or the key did not sign it.
    """
    try:
        envelope = json.loads(content)
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(envelope["payloadType"])
        payload = base64.b64decode(envelope["payload"], validate=True)
        found = {item["keyid"]: base64.b64decode(item["sig"], validate=True) for item in envelope["signatures"]}
        return payload, found[key]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError(
            "signature", expected=f"a DSSE envelope signed by {key[:19]}…", found=f"{type(error).__name__}: {error}"
        ) from error


def read_statement(payload: bytes) -> tuple[str, dict[str, str]]:
    """(digest of the record's last event that was signed, name to digest of what the run had made) of a statement.

    Raises:
        IntegrityError: It is no statement of this software.
    """
    try:
        statement = json.loads(payload)
        kinds = (statement["_type"], statement["predicateType"], statement["predicate"]["buildDefinition"]["buildType"])
        if kinds != (STATEMENT_TYPE, PREDICATE_TYPE, BUILD_TYPE):
            raise ValueError(f"the kinds {kinds}")
        record, *made = statement["subject"]
        return f"sha256:{record['digest']['sha256']}", {item["name"]: f"sha256:{item['digest']['sha256']}" for item in made}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise IntegrityError("signed statement", expected="a statement about a run", found=f"{type(error).__name__}: {error}") from error


def _hex(digest: Digest) -> str:
    return digest.partition(":")[2]
