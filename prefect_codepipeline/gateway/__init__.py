"""The HTTP service for people, git hosts and Slack: one stateless ASGI app."""
