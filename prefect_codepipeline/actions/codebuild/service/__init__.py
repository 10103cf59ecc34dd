"""Builds in CodeBuild itself."""
