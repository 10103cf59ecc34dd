"""Git repositories: found, mirrored, and made into artifacts."""
