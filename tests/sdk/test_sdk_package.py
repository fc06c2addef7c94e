"""The browser's client as a package: its own tests, its types, its size, and what of it is published."""

import gzip
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.node import SDK, CannotMake, sdk_installed

pytestmark = pytest.mark.slow

# What a page loads: the whole of it, minified and compressed as a server sends it.
MOST_BYTES = 6_144

# For a busy machine; nothing waits for it to pass.
PATIENCE = 180

ADAPTERS = """
import { useWebSocket, WebSocketStatus } from "tidings-client/react";
import { useTidings } from "tidings-client/vue";
export const all = [useWebSocket, WebSocketStatus, useTidings];
"""


NODE = """
import WebSocket from "ws";
import { Tidings } from "tidings-client";
export const tidings = new Tidings({ url: "https://example.org/ws", token: "token", WebSocket });
"""


@pytest.fixture(scope="module")
def modules() -> Path:
    """The packages; whoever lacks what they need is told."""
    try:
        return sdk_installed()
    except CannotMake as why:
        pytest.skip(f"packages of the SDK: {why}")


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program until its end; its output, both kinds of it as one."""
    return subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def consumer(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has installed the package as it would be published, beside the frameworks."""
    source = tmp_path_factory.mktemp("package")
    for path in SDK.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    (source / "node_modules").symlink_to(modules)
    packed = run(["npm", "pack", "--loglevel=error"], source)
    assert packed.returncode == 0, packed.stdout
    project = tmp_path_factory.mktemp("consumer")
    installed = project / "node_modules"
    for name in ("react", "vue", "ws", "@types"):
        (installed / name).parent.mkdir(exist_ok=True)
        (installed / name).symlink_to(modules / name)
    with tarfile.open(next(source.glob("*.tgz"))) as archive:
        archive.extractall(installed, filter="data")
    (installed / "package").rename(installed / "tidings-client")
    (project / "package.json").write_text('{"type": "module"}')
    return project


def compile_project(
    project: Path, modules: Path, source: str, *, lib: list[str], checks_libraries: bool
) -> str:
    """What the compiler says of a TypeScript program in the project; nothing where it is content."""
    (project / "program.ts").write_text(source)
    options = {
        "strict": True, "noEmit": True, "target": "es2022", "module": "nodenext", "lib": lib, "types": [],
        "skipLibCheck": not checks_libraries,
    }  # fmt: skip
    (project / "tsconfig.json").write_text(
        json.dumps({"compilerOptions": options, "files": ["program.ts"]})
    )
    said = run([str(modules / ".bin" / "tsc"), "-p", str(project)], project)
    assert bool(said.stdout) == bool(said.returncode), said.stdout
    return said.stdout


def test_own_tests_pass(modules: Path) -> None:
    """Every test of the client's passes on scripted sockets and time, and none is left out."""
    assert modules.is_dir()
    files = sorted(str(path.relative_to(SDK)) for path in SDK.glob("test/*.test.js"))
    said = run(["node", "--test", "--test-reporter=tap", *files], SDK)
    counted = {
        name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", said.stdout, re.MULTILINE)
    }
    assert said.returncode == 0, said.stdout
    assert counted["tests"] == counted["pass"] > len(files), said.stdout
    assert not any(counted[name] for name in ("fail", "cancelled", "skipped", "todo")), said.stdout


def test_types_are_sound(modules: Path) -> None:
    """The sources are what their annotations say, by the strict compiler."""
    said = run([str(modules / ".bin" / "tsc"), "-p", str(SDK)], SDK)
    assert said.returncode == 0, said.stdout


def test_size(modules: Path) -> None:
    """The client stays below six kibibytes, minified and compressed."""
    said = run([str(modules / ".bin" / "esbuild"), "tidings.js", "--minify", "--format=esm"], SDK)
    assert said.returncode == 0, said.stdout
    size = len(gzip.compress(said.stdout.encode(), 9, mtime=0))
    assert 1_024 < size < MOST_BYTES, f"{size} bytes"


def test_published_files(consumer: Path) -> None:
    """The package holds its sources, their declarations and its papers, nothing else, and runs as it is."""
    package = consumer / "node_modules" / "tidings-client"
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    sources = {path.stem for path in SDK.glob("*.js")}
    assert sources >= {"tidings", "react", "vue"}
    expected = {f"{name}.js" for name in sources} | {f"types/{name}.d.ts" for name in sources}
    assert found == expected | {"package.json", "README.md", "LICENSE"}
    described = json.loads((package / "package.json").read_text())
    assert "dependencies" not in described
    for entry in described["exports"].values():
        assert all((package / path).is_file() for path in entry.values())
    program = (
        "import { Tidings } from 'tidings-client'; console.log(new Tidings({url: 'http://a/'}).state.name)"
    )
    said = run(["node", "--input-type=module", "-e", program], consumer)
    assert said.stdout == "idle\n"


def test_declarations_serve_a_typescript_program(consumer: Path, modules: Path) -> None:
    """A TypeScript program compiles against the declarations, in a page and without one; a wrong line does not."""
    program = (SDK / "test" / "consumer.ts").read_text()
    # Without the page's types: a program of Node's has none.
    assert compile_project(consumer, modules, program, lib=["es2022"], checks_libraries=True) == ""
    assert compile_project(consumer, modules, ADAPTERS, lib=["es2022", "dom"], checks_libraries=False) == ""
    assert compile_project(consumer, modules, NODE, lib=["es2022"], checks_libraries=False) == ""
    wrong = re.sub(r"^// @ts-expect-error.*\n", "", program, flags=re.MULTILINE)
    said = compile_project(consumer, modules, wrong, lib=["es2022"], checks_libraries=True)
    assert len(set(re.findall(r"^program\.ts\((\d+),", said, re.MULTILINE))) == program.count(
        "@ts-expect-error: "
    )
