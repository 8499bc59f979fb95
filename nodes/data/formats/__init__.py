"""Readers of published data sets, one module per layout on disk; none of them downloads anything.

    prompts.py      this project's own: a line of JSON per question
    rsvqa.py        RSVQA-LR, RSVQA-HR: questions, answers and images in three JSON files per split
    classes.py      AID, NWPU-RESISC45: a folder of images per class
    lrs_vqa.py      LRS-VQA: a line of JSON per question
    vqa.py          COCO-style VQA: questions and annotations in two JSON files
    hf_datasets.py  what `save_to_disk` of Hugging Face `datasets` writes

Each `read` takes a folder and perhaps a split, and returns the pairs in the order of the files.
"""
