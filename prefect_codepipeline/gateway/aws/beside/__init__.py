"""Two other services of AWS, which tools ask before they ask for pipelines: tags of all resources, and who asks."""
