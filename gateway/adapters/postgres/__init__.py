"""Postgres: accounts, keys and their changes, usage events, and the schema that all of it stands on.

A *schema* is the row of applied migrations; a *database* hands out connections to it, or says that it is away.
"""
