"""Tests without sockets, processes or clocks."""
