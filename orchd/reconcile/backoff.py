"""When a failed runner is started again, and when no more. Pure."""

from __future__ import annotations

from orchd.reconcile.settings import ReconcileSettings


def delay_s(failures_in_row: int, settings: ReconcileSettings, jitter: float) -> float:
    """Return the seconds until the next start: `backoff_min_s` doubled with each failure, at most `backoff_max_s`.

    Args:
        failures_in_row: >= 1.
        jitter: 0 to 1; takes away up to a fifth, so that runners that fell together don't start together.
    """
    doubled = settings.backoff_min_s * 2.0 ** min(failures_in_row - 1, 32)
    return min(doubled, settings.backoff_max_s) * (1.0 - 0.2 * jitter)


def recent(failures: tuple[float, ...], now: float, settings: ReconcileSettings) -> tuple[float, ...]:
    """Return the failures inside the window that ends `now`."""
    return tuple(at for at in failures if now - at <= settings.failure_window_s)


def given_up(failures: tuple[float, ...], unready_failures: int, settings: ReconcileSettings) -> bool:
    """Return whether to stop trying: too many failures in the window, or in a row without ever being ready.

    The second count catches runners that fail so slowly that the window never fills.
    """
    return max(len(failures), unready_failures) >= settings.failure_limit
