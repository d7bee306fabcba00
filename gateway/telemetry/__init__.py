"""Telemetry: every metric and the log format, declared once. Counted in shared memory, exported by any worker."""
