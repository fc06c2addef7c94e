"""What can be seen of a process from outside, so that every server is measured alike, in any language."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CPUS = Path("/sys/devices/system/cpu")


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, user and system, in nanosecond steps.

    This is the process's own clock (`clock_getcpuclockid(3)`); `/proc/PID/stat` counts in 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def descriptors(pid: int) -> int:
    """Open file descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  a count of names, no paths


def resident_bytes(pid: int) -> int:
    """Memory in use."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def proportional_bytes(pid: int) -> int:
    """Memory in use, pages that several processes share counted in proportion."""
    return _rolled_up(pid, "Pss")


def anonymous_bytes(pid: int) -> int:
    """Memory that is the process's own: what connections take, and what leaks, is in here.

    The whole, in proportion, also moves with others that use the same libraries: when a process of Python ends
    somewhere on the machine, each of the rest seems to grow by a MiB.
    """
    return _rolled_up(pid, "Pss_Anon")


def _rolled_up(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/smaps_rollup tells no {name}")


def foreign_cpu_seconds() -> float:
    """CPU time that the machine has spent on others than this process and the children that it has reaped.

    The difference of two looks tells how quiet a measurement was. Counts in 10 ms.
    """
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    )
    ours = os.times()
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - (ours.user + ours.system + ours.children_user + ours.children_system)


def cores() -> tuple[int, int]:
    """The core for the server and the one for the load; the same one when there is only one.

    Not two threads of one core, where that can be avoided: they would compete for what it has.
    """
    server, *others = sorted(os.sched_getaffinity(0))
    near = siblings(server)
    return server, next((core for core in others if core not in near), [*others, server][0])


def siblings(core: int) -> set[int]:
    """The threads of a core's hardware, itself among them; itself alone where the kernel does not tell."""
    try:
        told = (_CPUS / f"cpu{core}/topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return {core}
    ranges = [part.partition("-") for part in told.split(",")]
    return {each for first, _, last in ranges for each in range(int(first), int(last or first) + 1)}


def machine() -> dict[str, str]:
    """Where and with what this runs."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ("tidings", "trio", "trio-websocket", "wsproto", "msgspec")
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "kernel": f"{platform.release()}, TCP {_sysctl('net/ipv4/tcp_congestion_control')}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{package} {version(package)}" for package in packages),
        "commit": _commit(),
        "load average at start": f"{os.getloadavg()[0]:.2f}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["tidings bench", *sys.argv[1 + (sys.argv[1:2] == ["bench"]) :]]),
    }


def _sysctl(name: str) -> str:
    return Path("/proc/sys", name).read_text(encoding="ascii").strip()


def _commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
