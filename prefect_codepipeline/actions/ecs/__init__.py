"""Task definitions and services in Amazon ECS."""
