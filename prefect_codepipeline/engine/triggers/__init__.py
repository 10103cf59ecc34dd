"""From an event of a git repository to the executions that it starts."""
