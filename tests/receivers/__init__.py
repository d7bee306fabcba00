"""Receivers of webhooks by others: what they are to verify, with their own libraries."""
