"""Training data: frames, augmentation, examples, dense targets, and batches."""
