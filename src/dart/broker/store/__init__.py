"""Where the broker keeps what it has promised."""
