"""The HTTP door: metrics and probes. Its packages are the extra `http`, loaded only when an address is configured."""
