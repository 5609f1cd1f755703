"""Python SDK of DART: it knows the REST contract and nothing else."""
