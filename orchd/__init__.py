"""orchd: the daemon that keeps an orchestrator's model containers true to `aiModels.json`."""

__version__ = "0.1.0"
