"""Training of a regular model on eo-mini-2: native tiles of 168 px, four tokens each, and an overview.

    tiles.py      the tiles of a frame, and what each part of them shows
    examples.py   tiles for the tower; frames as features of their tiles, with their prompts
    train.py      the tower on tiles, then the language model on frames

Command line: python -m nodes.lab.eo_mini_2.regular --help
"""
