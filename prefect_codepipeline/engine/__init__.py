"""What happens to executions."""
