"""What goes over the wire: messages, their frames, portable values, keys."""
