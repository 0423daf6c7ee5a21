"""Generated stubs of the proto package `llmgateway.admin`."""
