"""The API's own description: what the gateway answers itself as OpenAPI 3.1, and as a page for people."""
