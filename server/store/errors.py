"""What the store cannot do, and why."""


class StoreUnavailable(Exception):
    """It cannot be stored or read now: a full disk, an input/output error, or a store that has been closed."""


class StoreRefused(Exception):
    """The data directory or its database cannot be used; the message names it and the cure."""
