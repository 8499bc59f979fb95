"""Moving items (images, answers) from satellites to the ground over MQTT, across gaps: protocol version 1.

    satellite                               broker                         ground program
        |--- manifest(id, size, sha256, chunk size, expires, query=1) ------------>|
        |--- chunk(id, offset=0) ------------------------------------------------->|  a new item's chunks
        |--- chunk(id, offset=1*c) ----------------------------------------------->|  follow at once
        |<-- have(id, query=1, base, bitmap) --------------------------------------|  end-to-end
        x    contact lost, and what was in flight with it; perhaps another station follows
        |--- manifest(id, ..., query=2) ------------------------------------------>|  "what do you have?"
        |--- chunk(id, offset never sent before) --------------------------------->|  meanwhile
        |<-- have(id, query=2, base, bitmap) --------------------------------------|
        |--- chunk(id, each missing offset) -------------------------------------->|  sha256 verified,
        |<-- done(id) -------------------------------------------------------------|  file and folder fsynced
        |    release: the outbox forgets the bytes and keeps the id                |

* Topics (nodes/contract/topics.py): `down` carries manifests and chunks of images, `express` answers and
  heartbeats, `up` the replies to both, HELLO the ground's `hello` to all. A satellite's slug stands in its
  topics and is its user name. Each topic has one writer, so a
  broker can keep others out; beside that an item's id is a hash over satellite, kind, frame and content,
  and the ground refuses a manifest whose id does not belong to the satellite of the topic.
* Two connections, made and lost together: what is urgent never stands behind an image in a socket, at
  either end. Both share the link's queue, so the window keeps in flight one round trip and 0.25 s, BBR
  sends where the kernel has it, and on long paths the kernel paces to 1.25 times the planning rate
  (window.py, downlink.py).
* Everything is QoS 0: TCP carries it as far as the broker, and a broker's acknowledgement would say nothing
  about the other end. What counts is the ground program's word.
* Every payload is a msgpack map with `v` (version) and `t` (type); unknown keys are ignored, so that fields
  can be added. Anything else is refused and counted: one event a second and sender, not one per payload.
* An item of up to 4096 bytes travels inside its manifest. An image is never one message: chunks are 0.1 s
  of planning rate, 4 to 256 KiB.
* Idempotent by (item, offset): an item that is made again after a crash is the same item; what comes again
  for a completed item gets `done` once more.
* `query` counts the manifests of an item. A connection keeps order, so a chunk sent before query q and
  absent from the reply to q is lost: it is sent again at once, without waiting for a timer.
* Silence (no reply in several round trips) is answered with manifests for what is open, and in the end with
  another station, if there is contact with one. `hello`, sent when a ground program starts or finds its
  broker again, and `unknown` (a chunk without a manifest) are answered with manifests, too.
* Damage: both ends keep a digest of each stored chunk. The satellite refuses to send a damaged one; the
  ground, when the item's sha256 does not match, asks for the damaged ones again, for all if none is; after
  three tries it says `refused`, and the satellite gives the item up, with a report.
* Room: both boxes are bounded (outbox.py, inbox.py), and a full disk is a full box. The outbox drops, of
  the lowest priority, the oldest. The inbox lets go of bytes that were answered, then of unfinished items
  that got nothing for a minute, and else says `wait`: the item is offered again later. All of it is
  reported.
* Deadlines: from scenario second `expires` on an item is worthless; whoever holds it drops and reports it.
* On disk: plain files, a folder per item. Images want to be files anyway, for the model and for the
  researcher; a database beside them would be a second truth to keep in step. A manifest is written, fsynced
  and renamed into place. Chunks are not fsynced one by one: the sender keeps all of them until `done`, and
  `done` follows fsync and a sha256 over what is stored. A killed process loses nothing that it
  acknowledged; a power cut may cost a repeat, never a wrong image.
* Stations may share one inbox folder: the state of an item is on disk, under a lock of its own, and one
  station alone gets the claim to answer it.
* Order: smaller priority number first (answers 0, images 1), then older first; many items may be under way.
  Every second of a contact is used: what its end cuts off goes on in the next one. Only a satellite that is
  told the end (`contact_ends_s` in its configuration, or over the management plane; the testbed's runs do
  neither) leaves unstarted what cannot finish before, unless it is too large for any contact like this one.

sender.py and receiver.py are the protocol without a network; downlink.py and station.py connect them to
brokers.
"""
