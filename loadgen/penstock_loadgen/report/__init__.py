"""One self-contained HTML file per result."""
