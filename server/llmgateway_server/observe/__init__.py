"""What the gateway tells its operators: log, statistics, traces. No prompt, secret or provider text passes here."""
