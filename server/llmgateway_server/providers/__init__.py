"""Provider accounts: vendors (a table), dialects (pure translation), the wire, and the built-in simulator."""
