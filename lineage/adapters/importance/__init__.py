"""Importance of parameters."""
