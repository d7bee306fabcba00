"""Secrets at rest: what is kept in a store but must not be readable there."""
