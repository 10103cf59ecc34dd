"""Who asks the AWS API: access keys, signatures, and what a key may do."""
