"""Distributions as their authors ship them, installed by pip into a folder."""

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def install_wheel(
    folder: Path, name: str, files: Mapping[str, str], entry_points: Mapping[str, str]
) -> Path:
    """Make a wheel of the files, and have pip install it, without an index; returns where it is.

    `entry_points` are apps by name, as `my_polls:app`.
    """
    info = f"{name}-1.0.dist-info"
    points = "".join(f"{app} = {where}\n" for app, where in entry_points.items())
    inside = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n",
        f"{info}/WHEEL": _WHEEL,
        f"{info}/entry_points.txt": f"[tidings.apps]\n{points}",
    }
    inside[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*inside, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in inside.items():
            archive.writestr(path, text)
    target = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", "--no-compile", "--target", str(target), str(wheel)],
        check=True,
        timeout=120,
    )
    return target
