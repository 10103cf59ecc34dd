"""What happened in an execution, and what follows from it."""
