"""The vocabulary of the gateway and its ports. Imports the standard library and nothing of ours."""
