"""The lean runtime: opens an artifact and runs it. Imports the standard library and NumPy, nothing else."""
