"""Run one build on this machine, as CodeBuild runs it."""
