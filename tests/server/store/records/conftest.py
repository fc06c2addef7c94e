"""Records of each test's own."""

from support.records import postgresql_url, records_url

__all__ = ["postgresql_url", "records_url"]
