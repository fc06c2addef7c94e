"""Notifications: stored first, pushed second; what users have not read, and whoever tells them something.

The document S2 is served by this app: its routes, and its broadcaster for programs. It runs where `server.apps`
names it. What is to be shown to a user is a row of a table; its event goes through the user's inbox, so that an
absent user gets it once on return.
"""

from typing import Final

NAME: Final = "notifications"
