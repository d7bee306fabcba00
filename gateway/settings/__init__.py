"""Settings: `gateway.yaml` from text to a checked `Config`, and from there to the `Snapshot` that requests see."""
