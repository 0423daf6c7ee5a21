"""Between the protos and the core: decoding, validation, translation in both directions, and the one status table.

The only room below the doors that knows protobuf.
"""
