"""The API of AWS CodePipeline, with the engine of this package behind it."""
