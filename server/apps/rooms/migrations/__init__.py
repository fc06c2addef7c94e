"""Revisions of the tables of rooms, one after another."""
