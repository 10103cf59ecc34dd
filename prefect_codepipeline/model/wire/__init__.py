"""What the AWS API shows, as AWS writes it: pure functions of model objects."""
