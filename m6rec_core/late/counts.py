"""What a segment cache did: hits by tier, computed segments, evictions, faults, bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """A snapshot. Segments `asked` for were found in `memory`, on `disk`, in `redis`, or were `computed`.

    `evictions`: segments that left memory. `faults`: reads and writes of a tier that failed and were done without it.
    `segments` and `tokens` lie in memory now, in `bytes`.
    """

    asked: int
    memory: int
    disk: int
    redis: int
    computed: int
    evictions: int
    faults: int
    segments: int
    tokens: int
    bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the segments asked for that did not have to be computed; 0 when none was asked for."""
        return 1.0 - self.computed / self.asked if self.asked else 0.0

    @property
    def bytes_per_segment(self) -> float:
        """Mean memory of a segment that lies in memory."""
        return self.bytes / self.segments if self.segments else 0.0

    def as_json(self) -> dict[str, Any]:
        """All numbers by name."""
        return {**asdict(self), "hit_rate": self.hit_rate, "bytes_per_segment": self.bytes_per_segment}


@dataclass(slots=True)
class Tally:
    """Counts as they grow; every fault of a tier is counted, the first one is told."""

    say: Say
    numbers: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def add(self, name: str, count: int = 1) -> None:
        """Add to a number."""
        with self.lock:
            self.numbers[name] = self.numbers.get(name, 0) + count

    def fault(self, tier: str, error: Exception) -> None:
        """Count a fault of `tier`, and tell the first."""
        with self.lock:
            self.numbers["faults"] = self.numbers.get("faults", 0) + 1
            told = f"told {tier}"
            first = told not in self.numbers
            self.numbers[told] = 1
        if first:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.say(f"segment cache: {tier} failed and is done without ({reason}); answers stay the same")

    def of(self, name: str) -> int:
        """A number so far."""
        return self.numbers.get(name, 0)
