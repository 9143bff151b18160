"""Adapters: one technology per file, each behind a protocol of ``lineage.ports``. Only here are frameworks imported."""
