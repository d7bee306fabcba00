"""Configurations of other proxies, made from our own: pure text, which asks the sidecar for every decision."""
