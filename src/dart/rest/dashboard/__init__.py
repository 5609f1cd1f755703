"""The page at `/` and what it needs of the interface: sessions, tables a part at a time, numbers over time."""
