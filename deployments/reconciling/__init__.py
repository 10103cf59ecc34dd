"""Reconcile at intervals: the loop of the embedded set-up, and `codepipeline reconcile`."""
