"""Runners that are child processes."""
