"""The worker, and the process that it forks flow runs from."""
