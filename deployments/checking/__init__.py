"""What is wrong with definitions, and what an execution would do."""
