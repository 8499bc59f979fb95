"""An event model of board, downlink and ground."""
