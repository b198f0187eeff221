"""What encoders of their own are worth: first tokens of requests with images, beside encoding with prefill."""
