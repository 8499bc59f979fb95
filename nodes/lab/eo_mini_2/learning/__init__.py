"""What the trainings of both models on eo-mini-2 share.

scenes.py     training frames, drawn while a model trains, in eight orientations
network.py    vocabulary, untrained model and processor, dense head
loop.py       steps, learning rate, loss curve, and the state to go on with an ended training
command.py    the command line of a training
"""
