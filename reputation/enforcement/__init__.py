"""Ways in for mail servers: they ask before they send, or are told to stop."""
