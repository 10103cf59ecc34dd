"""The webhooks of git hosts, for pushes and pull requests."""
