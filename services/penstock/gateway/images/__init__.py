"""Images of a request: from their URLs to checked files and to the tokens that stand for them."""
