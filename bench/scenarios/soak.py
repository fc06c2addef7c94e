"""soak."""

from dataclasses import dataclass

from tidings.bench.options import Common
from tidings.bench.report import Report
from tidings.bench.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class Options(Common):
    """What can be set."""


async def run(options: Options, bench: Workbench) -> Report:
    """Run it. Raises ChildFailed."""
    raise NotImplementedError
