"""The broker: pure core, store, transport, and the service that joins them."""
