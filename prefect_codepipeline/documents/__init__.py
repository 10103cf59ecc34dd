"""JSON and YAML, read as plain data that knows its lines."""
