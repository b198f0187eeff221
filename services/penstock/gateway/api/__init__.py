"""The HTTP face: OpenAI's endpoints, the tokenizer's, and the state of the system."""
