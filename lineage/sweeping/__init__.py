"""Sweeps as they are carried out: an agent claims trials, runs the program for each of them, recorded, and tells what came of it."""
