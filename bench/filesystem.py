"""On what a scenario's data lie: a promise about disks is worth nothing on one in memory."""

from pathlib import Path

from tidings.bench.report import Report

# Where a sync costs nothing, "on disk" is no promise.
IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def tell_filesystem(report: Report, directory: Path, cure: str) -> None:
    """Name it in the report; where it is none on a disk, warn, with what to do."""
    kind = filesystem_of(directory)
    report.about["data on"] = kind or "unknown"
    if kind in IN_MEMORY:
        report.warnings.append(f"the data was on {kind}, no disk: {cure}")


def filesystem_of(path: Path) -> str:
    """The type of the file system on which a file would be, as `ext4`; empty where nothing tells."""
    place = path.resolve()
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    mounts = [(Path(line.split()[1]), line.split()[2]) for line in lines]
    # Of two mounts on one place the later one hides the other.
    fitting = [
        (len(at.parts), number, kind)
        for number, (at, kind) in enumerate(mounts)
        if place.is_relative_to(at)
    ]
    return max(fitting, default=(0, 0, ""))[2]
