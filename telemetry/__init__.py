"""What happened: sources, events, counters, retention. The lowest floor."""
