"""The shipped models behind servers that this project did not write."""
