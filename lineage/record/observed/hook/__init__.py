"""What a child of ``lineage run`` executes before its own program. This folder comes first on its ``PYTHONPATH``."""
