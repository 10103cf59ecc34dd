"""Views of executions and definitions: pages, pictures, messages."""
