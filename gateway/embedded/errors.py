"""The one exception of the embedded parts."""

from __future__ import annotations


class EmbeddedError(Exception):
    """The embedded parts cannot do what was asked; the text is one line for the person at the terminal."""
