"""How the figures of a fan-out grow with the number of clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidings.bench.contest import FLOOR, OURS
from tidings.bench.report import Report

# The ratio to the floor at the most clients, of that at the fewest.
RATIO_GROWTH = 1.2

# Memory of a connection may differ by this share.
MEMORY_SHARE = 0.1


@dataclass(frozen=True)
class Stage:
    """One number of clients."""

    clients: int
    cpu: Mapping[str, float]
    """Seconds a delivery, by server."""
    completion: Mapping[str, float]
    """Seconds until the last one has a message, by server."""
    memory: float
    """Bytes of our server for each connection."""

    def to_floor(self, name: str) -> float:
        """CPU of a server as a multiple of the floor's. Raises KeyError without either."""
        return self.cpu[name] / self.cpu[FLOOR]


def check_growth(report: Report, stages: Sequence[Stage], titles: Mapping[str, str]) -> None:
    """What ours promises of the stages, in rising order; `titles` has those whose figures count."""
    first, last = stages[0], stages[-1]
    if len(stages) < 2:
        report.warnings.append("one number of clients shows no growth")
        return
    if OURS in titles and FLOOR in titles:
        growth = last.to_floor(OURS) / first.to_floor(OURS)
        report.check(
            f"our ratio to the floor at {last.clients:,} clients at most {RATIO_GROWTH:g} of that at "
            f"{first.clients:,}",
            growth <= RATIO_GROWTH,
            f"{last.to_floor(OURS):.2f} and {first.to_floor(OURS):.2f}: {growth:.2f}",
        )
    else:
        report.warnings.append("without the floor there is nothing to hold our growth against")
    change = last.memory / first.memory - 1
    report.check(
        f"memory of a connection at {last.clients:,} within {MEMORY_SHARE:.0%} of that at {first.clients:,}",
        abs(change) <= MEMORY_SHARE,
        f"{last.memory / 1024:.1f} and {first.memory / 1024:.1f} KiB: {change:+.1%}",
    )
