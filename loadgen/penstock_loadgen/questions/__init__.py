"""Questions with known answers: the built-in model is trained on them, `penstock eval` asks held-out ones."""
