"""Receivers of webhooks: hosts that customers name, so nothing that they do is believed or waited for."""
