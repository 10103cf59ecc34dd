"""What git hosts tell of pushes and pull requests."""
