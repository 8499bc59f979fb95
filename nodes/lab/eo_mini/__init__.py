"""The benchmark `eo-mini`: frames whose prompts need a glance or the pixels, and the gates it must pass.

packages   fetches the packages that carry real imagery, opens the maps
sources    opens all that frames are made of
places     which longitudes belong to which split
footprint  where on Earth a frame lies
ground     a frame's pixels, land cover and clouds
windows    what is composited for the fine kinds: ships, rows, crowns
prompts    what is asked, and the balance of the answers
build      draws a split and writes it
oracle     plain detectors that say at which resolution a prompt can be answered
gates      what must hold before a model is trained on it
card       the data card
first_light   chooses the frames of a first run

python -m nodes.lab.eo_mini --help
"""
