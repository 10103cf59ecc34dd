"""Stacks and change sets in CloudFormation."""
