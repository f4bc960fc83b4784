"""Talking to Stream: credentials, the protocol, the transport."""
