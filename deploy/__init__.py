"""Deployment: the image, a whole installation on one machine, its dashboards and alerts, and what checks them."""
