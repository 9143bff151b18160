"""What a command does that knows nothing of this package: files it opens, and numbers it prints."""
