"""Ordinary classes in place of real parts, where a real part cannot do what the test needs."""
