"""What operators do to a running gateway, free of any wire."""
