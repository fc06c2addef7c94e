"""Users, their logins and their passwords: rows of tables, routes that change them, events that tell of it."""
