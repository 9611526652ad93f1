"""The read-only admin pages: /healthz, /readyz, /status, /metrics."""
