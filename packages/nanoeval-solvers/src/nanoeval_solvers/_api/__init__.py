"""The client of OpenAI-compatible APIs: limits, retries, transport, wire format."""
