"""One process that holds the models of many nodes, and the nodes' side of it.

    python -m nodes.vlm.shared --socket models.sock       the process
    connect_model("nodes/models/compact", socket)         a node's model, which answers over there

torch and transformers, which cost each process some 400 MB and three seconds of a core, are imported once.
Each model has a process of its own, forked from the one that has imported them.

wire.py       messages over the socket
serve.py      the process of one model
host.py       accepts connections and hands each to the process of its model
memory.py     answers that were computed before
libraries.py  what models need, imported before processes are forked
remote.py     a model and a session as a node uses them
"""
