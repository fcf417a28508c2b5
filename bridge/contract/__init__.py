"""The wire contract: models of events and requests, and the parsing of requests. No I/O."""
