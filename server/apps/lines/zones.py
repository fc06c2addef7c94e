"""Which time zones there are, by their IANA names, and what a wrong name was meant to be."""

import difflib
import functools
import zoneinfo
from typing import Final

# How alike two names are, at least, for one to be meant by the other.
_LIKENESS: Final = 0.6


def wrong_zone(name: str) -> str | None:
    """What is wrong with the name of a zone, in words; None: nothing. Reads files the first time: for a thread."""
    zones = _zones()
    if name in zones.values():
        return None
    near = _near(name.strip().lower().replace(" ", "_"), zones)
    return "unknown time zone" if near is None else f"unknown time zone: is it {near}?"


def _near(name: str, zones: dict[str, str]) -> str | None:
    if name in zones:
        return zones[name]
    # Mostly somebody names the city alone.
    cities = {zone.rpartition("/")[2]: zone for zone in zones}
    for names in (cities, {zone: zone for zone in zones}):
        found = difflib.get_close_matches(name, names, n=1, cutoff=_LIKENESS)
        if found:
            return zones[names[found[0]]]
    return None


@functools.cache
def _zones() -> dict[str, str]:
    """By their names in lower case. Also links as `UTC`; not those that are no place, or the machine's own."""
    names = zoneinfo.available_timezones() - {"Factory", "localtime"}
    return {name.lower(): name for name in sorted(names)}
