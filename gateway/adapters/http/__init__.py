"""HTTP towards upstreams: our own keep-alive client on httptools."""
