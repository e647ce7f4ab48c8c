"""Pages about a run or a comparison, to be sent to others: one HTML file, Markdown and JSON."""
