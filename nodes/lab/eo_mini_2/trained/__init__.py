"""What trained models make of eo-mini-2.

    outcomes.py      a model's answers about frames, kept with hashes of model and frames
    tile_memory.py   each tile of a frame is encoded once for all of its prompts
    gates.py         conditions that hold after training
    stages.py        the compact model's answers stage by stage, with the features of confidence heads
    confidence.py    confidence heads of every stage: training, figures, thresholds
    conformal.py     thresholds of a confidence for a stated rate of errors
    confidence_tables.py  tables of trained heads
    offload.py       what sending a share of the prompts to the regular model is worth

Command line: python -m nodes.lab.eo_mini_2 gates --compact DIR, and confidence --compact DIR
"""
