"""How a model runs, and what a model's folder says of its weights."""
