"""What apps with tables are built on, beside `tidings.server.extension`; it loads SQLAlchemy.

`put_event(connection, channel, event, payload)` leaves, in an operation of `push.tables.write`, an event that is
published after the commit. `AUTO_ID` is the type of a primary key that the database counts up, on SQLite and
PostgreSQL; `StoreUnavailable` is raised where the database does not answer; `wall_ms()` is the time, as
tables hold it.
"""

from tidings.server.store.errors import StoreUnavailable
from tidings.server.store.records.outbox import put_event
from tidings.server.store.records.types import AUTO_ID
from tidings.server.tables import Tables, wall_ms

__all__ = ["AUTO_ID", "StoreUnavailable", "Tables", "put_event", "wall_ms"]
