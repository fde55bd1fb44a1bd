"""Landbridge compiles models with several vendors' offline models in them into one artifact, and runs it."""
