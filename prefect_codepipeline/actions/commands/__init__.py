"""Commands on this machine and in containers, and what they print."""
