"""Hosts leave the traffic and return; the alarms of a deployment group."""
