"""Outside identity providers: where tokens come from that we did not issue."""
