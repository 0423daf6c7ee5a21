"""The policies of the call ring: they see metadata only and know no gRPC, so that every door uses the same ones."""
