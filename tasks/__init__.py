"""The tasks that flows call, and the providers of actions and rules."""
