"""What the benchmarks know of a server to compare with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """How to start one."""

    title: str
    program: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that it needs beside those of every process."""
