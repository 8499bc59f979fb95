"""The benchmark `eo-mini`: frames with prompts that need a glance or every pixel, and its quality gates.

    packages.py      downloads the packages with real imagery and opens the maps
    sources.py       loads all source material of frames
    places.py        longitudes of each split
    footprint.py     position and extent of a frame on Earth
    ground.py        a frame's pixels, land cover and clouds
    windows.py       composited content of the fine kinds: ships, rows, crowns
    prompts.py       questions about ground and clouds, and the balance of their answers
    build.py         draws a split and writes it
    oracle.py        plain detectors that find the resolution at which a prompt can be answered
    gates.py         conditions that a split must meet before a model is trained on it
    card.py          the data card
    first_light.py   selects the frames of a first run

Command line: python -m nodes.lab.eo_mini --help
"""
