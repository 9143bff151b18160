"""Training frameworks: what happens inside a training step."""
