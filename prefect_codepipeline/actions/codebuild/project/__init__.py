"""The builds of a project: which, how many at once, and what comes out."""
