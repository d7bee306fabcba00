"""The control plane's own judgement: bodies, passwords, addresses of webhooks."""
