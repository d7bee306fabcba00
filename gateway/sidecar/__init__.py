"""The data plane as a sidecar: the decision on a request that another proxy carries, and nothing else of it."""
