"""Tests of what is rendered for other proxies."""
