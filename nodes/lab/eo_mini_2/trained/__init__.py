"""What trained models make of eo-mini-2.

    outcomes.py      a model's answers about frames, kept with hashes of model and frames
    tile_memory.py   each tile of a frame is encoded once for all of its prompts
    gates.py         conditions that hold after training
    offload.py       what sending a share of the prompts to the regular model is worth

Command line: python -m nodes.lab.eo_mini_2 gates --compact DIR
"""
