"""Vision-language models: local ones, and those behind an OpenAI-compatible server.

protocol.py         the interface that both kinds share
model.py            a local model
session.py          one prompt that is decoded step by step, with attention
openai.py           a model behind a server
loading/            checks before loading; size of images
shared/             models that one process holds for many nodes
answer.py           an answer and its timings
folder.py           quick checks of a model's folder, without torch
image.py            reads an image file
views.py            shows a large frame as tiles and an overview
token_grid.py       the position of each image token in the frame
processor.py, chunked_vision.py, peak_memory.py     details of running a model
"""
