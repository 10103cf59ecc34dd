"""The rules of CodePipeline, pure: no Prefect, no network, no clock; time and ids come in as arguments."""
