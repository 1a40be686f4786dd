"""What it means and what to do: standing, scores, policies, overrides."""
