"""Trains the small pair that ships with the project: `python -m nodes.training --help`.

    frames.py                                 draws the training frames, once
    turns.py, looks.py, targets.py, gaze.py   what is shown of them, and what is to be learnt
    architecture.py, vocabulary.py, word_tokenizer.py, packing.py, train.py   the models and how they learn
    evaluate.py, measure.py, card.py          what is measured, and the cards

The pair stands in for models of the paper's class (2B on board, 7B on the ground) so that everything runs
with nothing to download. It is no substitute for them in a result about them.
"""
