"""Training of a compact model on eo-mini-2: 224 px, 1.6 million parameters, in the classes of Qwen2-VL.

    examples.py   frames in eight orientations, and what each token shows
    train.py      the tower on crops, then tower and language model on frames with their prompts

Command line: python -m nodes.lab.eo_mini_2.compact --help
"""
