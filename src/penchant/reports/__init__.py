"""Floor 6: self-contained HTML pages."""
