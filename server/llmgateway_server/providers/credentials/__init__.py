"""How calls are authorized: schemes that put a secret into a request, and sources that secrets come from."""
