"""The tables, as migrations forward: each released state of the schema can be brought to the newest one.

Plain SQL that SQLite and PostgreSQL both read: importing a toolkit costs more time than a whole tracked run may
(``docs/architecture.md`` has the figures).
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
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
)
"""One entry for each version of the schema, oldest first. Released entries are never edited."""
