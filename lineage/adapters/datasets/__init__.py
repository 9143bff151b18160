"""Technologies that keep datasets."""
