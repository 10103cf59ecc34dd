"""Pipeline definitions, in the format of CodePipeline's API."""
