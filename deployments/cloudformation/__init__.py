"""Convert pipelines between CloudFormation templates and definitions."""
