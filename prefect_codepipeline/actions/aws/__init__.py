"""Access to AWS."""
