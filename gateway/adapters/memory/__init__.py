"""Memory: what one worker keeps to itself: cached keys, and the buckets used while Redis is away."""
