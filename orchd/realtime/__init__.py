"""Realtime sessions: what they are, which of a container's routes carry them, and how they end."""
