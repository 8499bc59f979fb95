"""What models learn from: frames, prompts, targets, batches."""
