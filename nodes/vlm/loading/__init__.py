"""What is seen to before a model is loaded: the device, its types, the memory, the size of images."""
