"""The attempt ring: stages around one try of a call at one target."""
