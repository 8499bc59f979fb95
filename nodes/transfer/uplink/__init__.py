"""Tasks on their way up: the transfer protocol in the other direction.

A task is an item of kind `task` in an outbox of the ground program, one outbox for each satellite. Its id is
a hash of the satellite and the content, so that a task that comes from two stations is one item on board.

    ground program                          broker                                     satellite
        |<-- hello -------------------------------------------------------------------------|  it is connected
        |--- manifest(id, ..., data) ------------------------------------------------------>|  sha256, fsync
        |<-- done(id) ----------------------------------------------------------------------|

* Topics: `spaceverse/up/<satellite>/tasks` and `spaceverse/down/<satellite>/tasks`, both on the connection of
  images. No queue of QoS 0 keeps what is sent to a satellite without a connection: it is sent again after the
  next `hello`, or after a silence.
* A task is carried out once: the satellite claims it, and marks it as answered after its effect is on disk.
"""
