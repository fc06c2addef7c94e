"""How each peer comes to be on this machine: compiled, or installed into an environment of its own."""

import os
import platform
import shutil
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from tidings.bench.peers.making import CannotMake, Say, Stamp, Stamped, missing_programs, run
from tidings.bench.peers.peer import Peer

HERE = Path(__file__).resolve().parent
REQUIREMENTS = "requirements.txt"
PACKAGE_JSON = "package.json"

# Where Debian's packages of Go libraries have their sources.
GO_PATH = Path("/usr/share/gocode")
GORILLA = "golang-github-gorilla-websocket-dev"


@dataclass(frozen=True)
class Ours:
    """A peer in this project's own environment: it is there."""

    title: str
    module: str
    packages: tuple[str, ...] = ()

    def peer(self, directory: Path) -> Peer:  # noqa: ARG002
        """A module of ours."""
        return Peer(self.title, (sys.executable, "-m", f"tidings.bench.peers.{self.module}"))

    def stamp(self, directory: Path) -> Stamp:  # noqa: ARG002
        """Always there."""
        packages = [f"{package} {version(package)}" for package in self.packages]
        return Stamp("", ", ".join([*packages, f"Python {platform.python_version()}"]))

    def lacking(self) -> str:
        """Nothing."""
        return ""

    def make(self, directory: Path, say: Say) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class InC(Stamped):
    """A C program."""

    source: str

    def sources(self) -> Sequence[bytes]:
        """The program."""
        return [(HERE / self.source).read_bytes()]

    def peer(self, directory: Path) -> Peer:
        """As compiled."""
        return Peer(self.title, (str(self.home(directory) / self.name),))

    def lacking(self) -> str:
        """A compiler."""
        return missing_programs("cc", packages="gcc libc6-dev")

    def make(self, directory: Path, say: Say) -> None:
        """Compile it."""
        self._compile(directory, self._begin(directory), say)

    def _compile(self, directory: Path, home: Path, say: Say, *libraries: str) -> None:
        say(f"cc -O2 {self.source}")
        run(["cc", "-O2", "-o", home / self.name, HERE / self.source, *libraries])
        compiler = run(["cc", "--version"]).partition("\n")[0]
        self._finish(directory, ", ".join([*self._ingredients(directory), compiler]))

    def _ingredients(self, directory: Path) -> Sequence[str]:  # noqa: ARG002
        return []


@dataclass(frozen=True)
class OnSocketify(InC):
    """A C program on the library of uWebSockets that socketify ships."""

    socketify: Stamped

    def sources(self) -> Sequence[bytes]:
        """The program and the pins."""
        return [*super().sources(), *self.socketify.sources()]

    def make(self, directory: Path, say: Say) -> None:
        """Compile it, beside a copy of the library."""
        home = self._begin(directory)
        if self.socketify.stamp(directory) is None:
            raise CannotMake("needs the library that socketify ships: install socketify")
        kind = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        library = f"libsocketify_linux_{kind}.so"
        found = sorted(
            self.socketify.home(directory).glob(f"lib/python*/site-packages/socketify/{library}")
        )
        if not found:
            raise CannotMake(f"socketify ships no {library}")
        shutil.copyfile(found[0], home / library)
        self._compile(directory, home, say, f"-L{home}", f"-l:{library}", "-Wl,-rpath,$ORIGIN", "-pthread")

    def _ingredients(self, directory: Path) -> Sequence[str]:
        stamp = self.socketify.stamp(directory)
        return [stamp.version.partition(",")[0]] if stamp is not None else []


@dataclass(frozen=True)
class InPython(Stamped):
    """A peer in Python, in an environment that several share; it runs by path, and knows nothing of ours."""

    script: str
    packages: tuple[str, ...]
    module: str
    """One that is imported to see that all is there."""
    arguments: tuple[str, ...] = ()

    def home(self, directory: Path) -> Path:
        """The environment of all of them."""
        return directory.absolute() / "python"

    def sources(self) -> Sequence[bytes]:
        """The pins; the script is run where it is."""
        return [(HERE / REQUIREMENTS).read_bytes(), " ".join(self.packages).encode(), sys.version.encode()]

    def peer(self, directory: Path) -> Peer:
        """By the environment's own Python; not resolved, as the link is what tells it that it is in one."""
        return Peer(
            self.title,
            (str(self.home(directory) / "bin" / "python"), str(HERE / self.script), *self.arguments),
        )

    def lacking(self) -> str:
        """What a `venv` needs, which Debian packs apart."""
        try:
            import ensurepip  # noqa: F401, PLC0415
        except ImportError:
            return "needs ensurepip, in Debian: apt-get install python3-venv"
        return ""

    def make(self, directory: Path, say: Say) -> None:
        """Install its packages; the environment first, if it is missing, half made or another Python's."""
        home = self.home(directory)
        python = home / "bin" / "python"
        try:
            is_sound = (
                run([python, "-c", "import pip, sys; print(sys.version)"]).strip() == sys.version.strip()
            )
        except CannotMake:
            is_sound = False
        if not is_sound:
            say(f"a virtual environment of Python {platform.python_version()}")
            venv.create(home, with_pip=True, clear=True)
        self._stamp(directory).unlink(missing_ok=True)
        say(f"pip install {' '.join(self.packages)}")
        quiet = ("--quiet", "--disable-pip-version-check")
        run([python, "-m", "pip", "install", *quiet, "-c", HERE / REQUIREMENTS, *self.packages])
        # What was installed may still miss a library of the system's, as socketify does without libuv.
        run([python, "-c", f"import {self.module}"])
        plain = [package.partition("[")[0] for package in self.packages]
        tell = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
        versions = run([python, "-c", tell, *plain]).split()
        named = [f"{package} {found}" for package, found in zip(plain, versions, strict=True)]
        self._finish(directory, ", ".join([*named, f"Python {platform.python_version()}"]))


@dataclass(frozen=True)
class InNode(Stamped):
    """The peer in JavaScript."""

    source: str

    def sources(self) -> Sequence[bytes]:
        """The pin; the program is run where it is."""
        return [(HERE / PACKAGE_JSON).read_bytes()]

    def peer(self, directory: Path) -> Peer:
        """With a collector that can be asked, and with the home's modules."""
        modules = self.home(directory) / "node_modules"
        return Peer(
            self.title, ("node", "--expose-gc", str(HERE / self.source)), {"NODE_PATH": str(modules)}
        )

    def lacking(self) -> str:
        """Node."""
        return missing_programs("node", "npm", packages="nodejs npm")

    def make(self, directory: Path, say: Say) -> None:
        """Install its package."""
        home = self._begin(directory)
        shutil.copyfile(HERE / PACKAGE_JSON, home / PACKAGE_JSON)
        say("npm install")
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
        run(["npm", "install", *quiet], cwd=home)
        package = msgspec.json.decode((home / "node_modules" / "ws" / "package.json").read_bytes())
        self._finish(directory, f"ws {package['version']}, Node {run(['node', '--version']).strip()}")


@dataclass(frozen=True)
class InGo(Stamped):
    """The peer in Go, with Debian's library."""

    source: str

    def sources(self) -> Sequence[bytes]:
        """The program."""
        return [(HERE / self.source).read_bytes()]

    def peer(self, directory: Path) -> Peer:
        """As compiled."""
        return Peer(self.title, (str(self.home(directory) / self.name),))

    def lacking(self) -> str:
        """Nothing where Debian's packages can be installed on the way."""
        return "" if self._can_install() else self._lacking()

    @staticmethod
    def _can_install() -> bool:
        return os.geteuid() == 0 and shutil.which("apt-get") is not None

    @staticmethod
    def _lacking() -> str:
        if shutil.which("go") and (GO_PATH / "src/github.com/gorilla/websocket").is_dir():
            return ""
        return f"needs Go and gorilla/websocket, in Debian: apt-get install golang-go {GORILLA}"

    def make(self, directory: Path, say: Say) -> None:
        """Compile it; first, where they are missing and root asks, install Debian's packages."""
        home = self._begin(directory)
        if self._lacking():
            if not self._can_install():
                raise CannotMake(self._lacking())
            for arguments in (
                ("update", "-qq"),
                ("install", "-y", "-qq", "--no-install-recommends", "golang-go", GORILLA),
            ):
                say(f"apt-get {' '.join(arguments)}")
                run(["apt-get", *arguments], environment={"DEBIAN_FRONTEND": "noninteractive"})
        say(f"go build {self.source}")
        with tempfile.TemporaryDirectory(prefix="tidings-go-") as cache:
            environment = {
                "GO111MODULE": "off",
                "GOPATH": str(GO_PATH),
                "GOCACHE": cache,
                "GOTOOLCHAIN": "local",  # a newer Go would else look for yet another one
            }
            run(["go", "build", "-o", home / self.name, HERE / self.source], environment=environment)
            go = run(["go", "env", "GOVERSION"], environment=environment).strip()
        gorilla = run(["dpkg-query", "-W", "-f", "${Version}", GORILLA])
        self._finish(directory, f"gorilla/websocket {gorilla}, {go}")
