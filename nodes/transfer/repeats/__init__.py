"""Items that a ground station asks for again, since it lost bytes that it had confirmed."""
