"""Deployments to instances, by Systems Manager."""
