"""The clock by which a limiter waits."""

import time

if hasattr(time, "CLOCK_BOOTTIME"):

    def now_s() -> float:
        """Seconds on a clock that only runs forward, also while the machine sleeps: slots go stale meanwhile."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # pragma: no cover
    now_s = time.monotonic
