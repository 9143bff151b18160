"""Where records are kept: SQLite beside the repository by default, PostgreSQL for teams. One SQL text serves both."""
