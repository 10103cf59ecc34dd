"""The files of a pipeline: its definition, its resources and its settings."""
