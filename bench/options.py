"""What can be set of every scenario."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from tidings.server.config import Server

Engine = Literal["native", "reference"]

DEFAULT_ENGINE: Engine = "reference" if Server().engine == "reference" else "native"

# What makes no sense is refused before anything is started.
Count = Annotated[int, Parameter(validator=Number(gte=1))]
CountOrNone = Annotated[int, Parameter(validator=Number(gte=0))]
Positive = Annotated[float, Parameter(validator=Number(gt=0))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0))]

# Where reports go unless told otherwise, each scenario's into a directory of its own.
REPORTS = Path("build/bench")

# Where `peers --install` puts what the peers need.
PEERS = Path("build/peers")


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all scenarios with a server have."""

    engine: Annotated[Engine, Parameter(help="WebSocket engine of our server.")] = DEFAULT_ENGINE
    tls: Annotated[bool, Parameter(help="Encrypt: `wss`, with a certificate made for this run.")] = False
    seed: Annotated[int, Parameter(help="Of everything that is drawn: who speaks, who dies, the text.")] = 1


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the outcome goes beside the terminal."""

    json: Annotated[Path | None, Parameter(name="--json", help="File for the raw results.")] = None
    report: Annotated[
        Path | None,
        Parameter(
            help="Directory for report.html (one page with plots), report.md, results.json and the raw samples;"
            " build/bench/SCENARIO unless given."
        ),
    ] = None
    picture: Annotated[
        Path | None, Parameter(help="File for the report's first plot as SVG, as for a README.")
    ] = None
