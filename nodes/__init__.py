"""Programs that run on satellites and ground stations: in a Mininet host, on a board, on a laptop."""
