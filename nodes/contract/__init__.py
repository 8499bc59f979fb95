"""What a run and its nodes agree on: configurations, topics, messages and events."""
