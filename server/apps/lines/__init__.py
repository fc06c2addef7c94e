"""The line board: devices report who writes to their messaging accounts, dashboards watch it, group by group.

Nothing heavy is imported here: whether the app runs is asked by servers that never load it.
"""

from typing import Final

from tidings.protocol.messages.lines import OWNER

NAME: Final = OWNER
