"""CloudFormation templates in and out: what they say of pipelines, as definitions."""
