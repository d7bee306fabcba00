"""The data plane as a reverse proxy: one request's path is `handler.py`, read from top to bottom."""
