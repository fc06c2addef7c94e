"""Users, their logins and their passwords: rows of a table, routes that change them, events that tell of it.

The documents S0 (user data sync) and S1 (single-device login) are served by this app: their routes and events, and
whether a login ends the user's others. It runs where `server.apps` names it.
"""

from typing import Final

NAME: Final = "accounts"
