"""Builds of CodeBuild projects, here or in AWS."""
