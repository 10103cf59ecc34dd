"""One build, run here as CodeBuild runs it."""
