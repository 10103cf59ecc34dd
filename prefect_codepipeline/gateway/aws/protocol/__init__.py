"""Requests and answers of the AWS API: read, checked and written by the API model."""
