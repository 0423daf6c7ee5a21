"""gRPC over HTTP/2 on the event loop itself: the door's second transport, for less CPU per call.

A request goes through the rooms in this order: `listener` accepts its connection, `reading` takes the bytes apart into
`frames`, `connection` knows what a peer may do and keeps the streams, `headers` reads who is asked for what, `stream`
collects the message, `calls` runs the handler with a `context`, and `sending` brings the answer through the windows.
`guard` counts what a hostile peer could send for nothing; `terms` is what all connections share.

Sources: HTTP/2 is RFC 9113, header compression RFC 7541, gRPC's use of them PROTOCOL-HTTP2.md of the gRPC project.
"""
