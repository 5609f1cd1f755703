"""The agent: runs on the worker's host, connects outbound, keeps runners."""
