"""Vision-language models: local ones, and those behind an OpenAI-compatible server."""
