"""Subscriptions and monitored items (Part 4, 5.12 and 5.13), and polling where a server has no room for them."""
