"""The gRPC door: the server, the call ring's interceptors, the services. No decisions, no translation."""
