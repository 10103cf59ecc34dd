"""An S3 endpoint for the artifacts of jobs, and for nothing else."""
