"""Jobs: what a worker does beside serving requests."""
