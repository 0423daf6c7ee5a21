"""The services: each RPC decodes, calls the gateway or a reader of state, and encodes."""
