"""Connections to the hosts of a deployment: SSH, or this machine."""
