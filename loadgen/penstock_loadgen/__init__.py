"""Load for any OpenAI-compatible endpoint, measured from the stream itself."""
