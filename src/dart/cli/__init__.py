"""The `dart` command line."""
