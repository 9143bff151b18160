"""Ways to execute a command."""
