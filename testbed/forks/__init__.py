"""Python programs that are forked from a process which has imported them already."""
