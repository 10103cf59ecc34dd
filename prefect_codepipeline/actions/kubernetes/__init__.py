"""Deployments to Kubernetes, by kubectl and helm."""
