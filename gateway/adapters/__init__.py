"""Adapters: one outside thing each; they do not know one another."""
