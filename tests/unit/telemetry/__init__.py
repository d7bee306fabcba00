"""Tests of gateway/telemetry: counting, sharing and exposing."""
