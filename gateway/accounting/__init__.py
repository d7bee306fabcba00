"""Accounting: what is known of a request, whichever face it came to, and in the end its usage event."""
