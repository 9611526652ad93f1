"""Launches and ends runners: one folder for each kind of runtime, after `domain.ports.Runtime`."""
