"""A progress bar for a person who watches, a plain line every 30 seconds for a log; on stderr."""

from __future__ import annotations

import sys
import time


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Shows the finished share of some work, its rate and the time left.

    Args:
        label: what is being done.
        total: the amount of work, in the unit of `update`.
    """

    def __init__(self, label: str, total: float):
        self.label, self.total, self.stream = label, max(total, 1e-9), sys.stderr
        self.live = self.stream.isatty()
        self.began = self.shown = time.monotonic()
        self.start: float | None = None

    def update(self, done: float, note: str = "") -> None:
        """Report `done` of `total`; work that was already there at the first call does not count into the rate."""
        now = time.monotonic()
        self.start = done if self.start is None else self.start
        if now - self.shown < (0.2 if self.live else 30.0):
            return
        self.shown = now
        share = min(done / self.total, 1.0)
        fresh = done - self.start
        left = (now - self.began) * (self.total - done) / fresh if fresh > 0 else None
        text = f"{share:4.0%}, {duration(now - self.began)} gone, " + (
            f"{duration(left)} left" if left else "time left unknown"
        )
        text += f"  {note}" if note else ""
        if self.live:
            bar = "#" * round(24 * share)
            self.stream.write(f"\r\033[K{self.label} [{bar:<24}] {text}")
        else:
            self.stream.write(f"{self.label}: {text}\n")
        self.stream.flush()

    def close(self) -> None:
        if self.live:
            self.stream.write("\r\033[K")
            self.stream.flush()
