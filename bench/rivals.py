"""The peers that a scenario was asked to compare with."""

from collections.abc import Iterable
from pathlib import Path

from tidings.bench import peers
from tidings.bench.peers import Peer
from tidings.bench.processes import ChildFailed
from tidings.bench.report import Report

NONE = "none"


def rivals(names: Iterable[str], directory: Path, report: Report) -> dict[str, Peer]:
    """Those of the names that are installed; the report says who is missing, and which versions the others are.

    Raises ChildFailed for a name that there is not.
    """
    try:
        found, missing = peers.find([name for name in names if name != NONE], directory)
    except ValueError as error:
        raise ChildFailed(str(error)) from None
    report.warnings += [f"{name} is left out: {why}" for name, why in missing.items()]
    if found:
        versions = peers.versions(directory)
        report.about["peers"] = "; ".join(f"{name}: {versions[name]}" for name in found)
    return found
