"""What keeps a satellite or ground program going: configuration, management plane, inference queue."""
