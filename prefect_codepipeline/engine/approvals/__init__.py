"""Approvals: what is shown of one, its links, and its decision."""
