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
)
"""One entry for each version of the schema, oldest first. Released entries are never edited."""
