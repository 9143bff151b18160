"""Interpreter, packages and machine."""
