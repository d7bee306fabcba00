"""Redis: the limiter, on a pipelined connection of its own; redis-py serves all that is not per request."""
