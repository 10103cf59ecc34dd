"""The only room that sends HTTP requests to Prefect."""
