"""Training of the small pair that ships with the project: `python -m nodes.lab.training --help`.

    architecture.py, vocabulary.py, word_tokenizer.py   model sizes, recipes, words
    examples/       frames, augmentation, dense targets, packed sequences
    vision/         the vision tower: batching, initialisation, feature cache
    attention_supervision.py, packed_attention.py       attention losses and masks
    train.py        the training loop
    evaluate.py, evaluate_models.py, card.py            evaluation and model cards

The pair stands in for models of the paper's class (2B on board, 7B on the ground), so that everything runs
without downloads. It cannot replace them in results about such models.
"""
