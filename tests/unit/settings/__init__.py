"""Tests of `gateway.yaml`: loading, checking and compiling."""
