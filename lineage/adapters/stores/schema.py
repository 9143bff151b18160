"""The tables, as migrations forward: each released state of the schema can be brought to the newest one.

Plain SQL that SQLite and PostgreSQL both read: importing a toolkit costs more time than a whole tracked run may
(``docs/architecture.md`` has the figures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = str | Callable[[Callable[..., Any]], None]
"""A statement, or what fills new columns through a function that executes statements."""


def _fill_from_records(execute: Callable[..., Any]) -> None:
    from lineage.adapters.stores.run_briefs import fill  # it needs what needs this module

    fill(execute)


def _fill_uploads(execute: Callable[..., Any]) -> None:
    from lineage.adapters.stores.uploads import fill  # as above

    fill(execute)


MIGRATIONS: tuple[tuple[Step, ...], ...] = (
    (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, project TEXT NOT NULL, run_group TEXT, job_type TEXT NOT NULL,
            state TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, fingerprint TEXT NOT NULL, reproduces TEXT,
            document TEXT NOT NULL)""",
        "CREATE INDEX runs_newest ON runs (started_at DESC, id DESC)",
        "CREATE INDEX runs_project ON runs (project, started_at DESC, id DESC)",
        "CREATE INDEX runs_reproduces ON runs (reproduces)",
        """CREATE TABLE events (
            run_id TEXT NOT NULL, number INTEGER NOT NULL, payload TEXT NOT NULL, digest TEXT NOT NULL,
            PRIMARY KEY (run_id, number))""",
        """CREATE TABLE metrics (
            run_id TEXT NOT NULL, number INTEGER NOT NULL, step BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL, payload TEXT NOT NULL,
            PRIMARY KEY (run_id, number))""",
        """CREATE TABLE run_inputs (
            run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, role TEXT NOT NULL, uri TEXT NOT NULL, dataset_id TEXT NOT NULL,
            branch TEXT NOT NULL, commit_id TEXT NOT NULL, view_id TEXT, rows_digest TEXT NOT NULL, content_digest TEXT NOT NULL,
            PRIMARY KEY (run_id, ordinal))""",
        "CREATE INDEX run_inputs_uri ON run_inputs (uri, commit_id)",
        "CREATE INDEX run_inputs_dataset ON run_inputs (dataset_id, commit_id)",
        "CREATE INDEX run_inputs_content ON run_inputs (content_digest)",
        """CREATE TABLE run_outputs (
            run_id TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (run_id, name))""",
        "CREATE INDEX run_outputs_digest ON run_outputs (digest)",
    ),
    (
        "ALTER TABLE run_inputs ADD COLUMN view_name TEXT",
        "ALTER TABLE run_inputs ADD COLUMN view_key TEXT",
        "ALTER TABLE run_inputs ADD COLUMN brief TEXT",
        "CREATE INDEX run_inputs_view ON run_inputs (view_key)",
        # What a name stood for before the run made another file under it.
        """CREATE TABLE replaced_outputs (
            run_id TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (run_id, name, digest))""",
        "CREATE INDEX replaced_outputs_digest ON replaced_outputs (digest)",
        """CREATE TABLE run_uses (
            run_id TEXT NOT NULL, ordinal INTEGER NOT NULL, role TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL,
            digest TEXT NOT NULL, PRIMARY KEY (run_id, ordinal))""",
        "CREATE INDEX run_uses_digest ON run_uses (digest)",
        "CREATE TABLE environments (digest TEXT PRIMARY KEY, payload TEXT NOT NULL)",
        # The row index. BYTEA is PostgreSQL's word for bytes; SQLite keeps bytes as bytes under any word.
        "CREATE TABLE spaces (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        """CREATE TABLE key_segments (
            number INTEGER PRIMARY KEY, kind TEXT NOT NULL, bits INTEGER NOT NULL, entries BIGINT NOT NULL)""",
        """CREATE TABLE key_blocks (
            kind TEXT NOT NULL, bits INTEGER NOT NULL, bucket BIGINT NOT NULL, segment INTEGER NOT NULL, payload BYTEA NOT NULL,
            PRIMARY KEY (kind, bits, bucket, segment))""",
        "CREATE TABLE views (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, space INTEGER NOT NULL, row_count BIGINT NOT NULL)",
        """CREATE TABLE view_blocks (
            space INTEGER NOT NULL, block BIGINT NOT NULL, view INTEGER NOT NULL, payload BYTEA NOT NULL,
            PRIMARY KEY (space, block, view))""",
        """CREATE TABLE dataset_versions (
            uri TEXT NOT NULL, branch_id TEXT NOT NULL, commit_id TEXT NOT NULL, manifest TEXT NOT NULL, dataset_id TEXT NOT NULL,
            signature TEXT, rows_total BIGINT NOT NULL, space TEXT NOT NULL, noted BIGINT NOT NULL,
            PRIMARY KEY (uri, branch_id, commit_id, manifest))""",
        "CREATE TABLE ledgers (space TEXT PRIMARY KEY, digest TEXT NOT NULL)",
        "CREATE TABLE archives (content_digest TEXT PRIMARY KEY, listing TEXT NOT NULL)",
        # Unsigned 64-bit numbers, kept as the signed ones with the same bits: neither database has unsigned ones.
        """CREATE TABLE picture_hashes (
            method TEXT NOT NULL, picture BIGINT NOT NULL, hash BIGINT NOT NULL, PRIMARY KEY (method, picture))""",
    ),
    (
        # Records that were made elsewhere: what they say to execute is not trusted as what was recorded here.
        "CREATE TABLE adopted (run_id TEXT PRIMARY KEY, source TEXT NOT NULL, at TEXT NOT NULL)",
    ),
    (
        # Who may ask the service, and who did what. Of a token only its digest is kept.
        """CREATE TABLE access_tokens (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL, digest TEXT NOT NULL, created_at TEXT NOT NULL,
            expires_at TEXT, revoked_at TEXT)""",
        """CREATE TABLE audit (
            number BIGINT PRIMARY KEY, who TEXT NOT NULL, what TEXT NOT NULL, outcome INTEGER NOT NULL, at TEXT NOT NULL,
            last_at TEXT NOT NULL, count BIGINT NOT NULL)""",
    ),
    (
        # What people asked workers for. Times are seconds since the epoch by the database's own clock: clocks of workers may differ.
        """CREATE TABLE materialisations (
            id TEXT PRIMARY KEY, number BIGINT NOT NULL UNIQUE, run_id TEXT NOT NULL, what TEXT NOT NULL, options TEXT NOT NULL,
            state TEXT NOT NULL, attempt INTEGER NOT NULL, attempts_allowed INTEGER NOT NULL, requested_by TEXT NOT NULL,
            requested_at DOUBLE PRECISION NOT NULL, started_at DOUBLE PRECISION, ended_at DOUBLE PRECISION, heartbeat_at DOUBLE PRECISION,
            lease_until DOUBLE PRECISION, worker TEXT, fence BIGINT NOT NULL, change BIGINT NOT NULL, log_bytes BIGINT NOT NULL,
            cancel_requested INTEGER NOT NULL, progress TEXT, isolation TEXT NOT NULL, verdict TEXT, result_run_id TEXT, path TEXT,
            size_bytes BIGINT, error TEXT, request_key TEXT UNIQUE, request_digest TEXT)""",
        "CREATE INDEX materialisations_state ON materialisations (state, number)",
        "CREATE INDEX materialisations_run ON materialisations (run_id, number)",
        """CREATE TABLE materialisation_log (
            job TEXT NOT NULL, number BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job, number))""",
    ),
    (
        # What lists show of a run, and what runs are found by: names of their code, packages of their environment.
        "ALTER TABLE runs ADD COLUMN brief TEXT",
        "ALTER TABLE runs ADD COLUMN environment TEXT",
        "CREATE INDEX runs_environment ON runs (environment, started_at DESC, id DESC)",
        "CREATE TABLE run_code (run_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (run_id, name))",
        "CREATE INDEX run_code_name ON run_code (name, run_id)",
        """CREATE TABLE environment_packages (
            environment TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (environment, name))""",
        "CREATE INDEX environment_packages_name ON environment_packages (name, version, environment)",
        _fill_from_records,
    ),
    (
        # The lists that people ask for, newest first without sorting.
        "CREATE INDEX runs_group ON runs (run_group, started_at DESC, id DESC)",
        "CREATE INDEX runs_state ON runs (state, started_at DESC, id DESC)",
        "CREATE INDEX runs_project_state ON runs (project, state, started_at DESC, id DESC)",
        "CREATE INDEX runs_job_type ON runs (job_type, started_at DESC, id DESC)",
    ),
    (
        # Which run wrote which dataset version.
        """CREATE TABLE dataset_outputs (
            run_id TEXT NOT NULL, dataset_id TEXT NOT NULL, commit_id TEXT NOT NULL, uri TEXT NOT NULL,
            PRIMARY KEY (run_id, dataset_id, commit_id))""",
        "CREATE INDEX dataset_outputs_version ON dataset_outputs (dataset_id, commit_id)",
        _fill_uploads,
        # When the run began, beside what it read: who counts the thousands that read a version looks at an index and at no run.
        "ALTER TABLE run_inputs ADD COLUMN started_at TEXT",
        "ALTER TABLE run_uses ADD COLUMN started_at TEXT",
        "UPDATE run_inputs SET started_at = (SELECT started_at FROM runs WHERE id = run_id)",
        "UPDATE run_uses SET started_at = (SELECT started_at FROM runs WHERE id = run_id)",
        "CREATE INDEX run_inputs_read ON run_inputs (dataset_id, commit_id, content_digest, started_at, run_id, role)",
        "CREATE INDEX run_uses_from ON run_uses (digest, started_at, run_id, role)",
        "DROP INDEX run_inputs_dataset",  # the beginnings of the new ones
        "DROP INDEX run_uses_digest",
    ),
    (
        # The newest runs that read a dataset, and those that read a view by its name.
        "CREATE INDEX run_inputs_newest ON run_inputs (uri, started_at, run_id)",
        "CREATE INDEX run_inputs_newest_by_id ON run_inputs (dataset_id, started_at, run_id)",
        "CREATE INDEX run_inputs_view_name ON run_inputs (view_name, started_at, run_id)",
        "CREATE INDEX run_inputs_view_id ON run_inputs (view_id, started_at, run_id)",
    ),
    (
        # Sweeps, and which run is which trial. No record of an earlier release belongs to one.
        """CREATE TABLE recorded_sweeps (
            id TEXT PRIMARY KEY, began_at TEXT NOT NULL, project TEXT NOT NULL, metric TEXT, goal TEXT NOT NULL,
            definition TEXT NOT NULL)""",
        "CREATE INDEX recorded_sweeps_newest ON recorded_sweeps (began_at DESC, id DESC)",
        """CREATE TABLE sweep_trials (
            run_id TEXT PRIMARY KEY, sweep TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
            value DOUBLE PRECISION, started_at TEXT NOT NULL)""",
        "CREATE INDEX sweep_trials_sweep ON sweep_trials (sweep, number)",
    ),
)
"""One entry for each version of the schema, oldest first. Released entries are never edited."""
