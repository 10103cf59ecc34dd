"""The rules of CodePipeline as pure functions: no Prefect, no network, no clock; time and ids are arguments."""
