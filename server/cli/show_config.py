"""`tidings config`, which needs neither a server nor anything of tokens."""

from tidings.server.cli.common import ConfigFile, Settings, configuration_with_sources, ending_well
from tidings.server.config import describe


def show_config(*, config: ConfigFile = None, settings: Settings = []) -> None:  # noqa: B006
    """Print the effective configuration as TOML: every key, its meaning, and where its value is from.

    Secrets are masked. Save it as a file and edit it to begin with.
    """
    effective, sources = configuration_with_sources(config, settings)
    ending_well(lambda: print(describe(effective, sources=sources), end=""))
