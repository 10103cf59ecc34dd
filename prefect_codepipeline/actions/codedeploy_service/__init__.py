"""Deployments in AWS CodeDeploy."""
