"""Everything that touches the world, one verb per function."""
