"""Generated stubs of the proto package `llmgateway.v1`."""
