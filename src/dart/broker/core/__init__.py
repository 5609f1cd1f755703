"""The pure core of the broker: events in, commands out, no I/O."""
