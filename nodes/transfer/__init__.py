"""Moving items (images, answers) from satellites to the ground over MQTT, across gaps: protocol version 1.

    satellite                               broker                         ground program
        |--- manifest(id, size, sha256, chunk size, query=1) --------------------->|
        |--- chunk(id, offset=0) ------------------------------------------------->|  a new item's chunks
        |--- chunk(id, offset=1*c) ----------------------------------------------->|  follow at once
        |<-- have(id, query=1, base, bitmap) --------------------------------------|  end-to-end
        x    contact lost, and what was in flight with it                          |
        |--- manifest(id, ..., query=2) ------------------------------------------>|  "what do you have?"
        |<-- have(id, query=2, base, bitmap) --------------------------------------|
        |--- chunk(id, each missing offset) -------------------------------------->|  sha256 verified,
        |<-- done(id) -------------------------------------------------------------|  file and folder fsynced
        |    release: the outbox forgets the bytes and keeps the id                |

* Topics: `spaceverse/down/<satellite>` carries manifests and chunks, `spaceverse/up/<satellite>` the
  replies, `spaceverse/up` the ground's `hello` to all. Each has one writer, so a broker can keep others out.
* Everything is QoS 0: TCP carries it as far as the broker, and a broker's acknowledgement would say nothing
  about the other end. What counts is the ground program's word.
* Every payload is a msgpack map with `v` (version) and `t` (type); unknown keys are ignored, so that fields
  can be added. Anything else is refused and counted (messages.py).
* An item of up to 4096 bytes travels inside its manifest. An image is never one message: chunks are 0.1 s of
  planning rate, 4 to 256 KiB (window.py).
* Idempotent by (item, offset). The id is a hash over satellite, kind, frame and content, so an item that is
  made again after a crash is the same item; what comes again for a completed item gets `done` once more.
* `query` counts the manifests of an item. A connection keeps order, so a chunk sent before query q and absent
  from the reply to q is lost: it is sent again at once, without waiting for a timer.
* Silence (no reply in several round trips) is answered with manifests for what is open. So are `hello`, sent
  when a ground program starts or finds its broker again, and `unknown` (a chunk without a manifest).
* sha256 mismatch: the ground throws the chunks away and says so with an empty `have`; after three tries it
  says `refused`, and the satellite gives the item up, with a report.
* On disk (outbox.py, inbox.py): plain files, a folder per item. Images want to be files anyway, for the model
  and for the researcher; a database beside them would be a second truth to keep in step. A manifest is
  written, fsynced and renamed into place. Chunks are not fsynced one by one: the sender keeps all of them
  until `done`, and `done` follows fsync and a sha256 over what is stored. A killed process loses nothing that
  it acknowledged; a power cut may cost a repeat, never a wrong image.
* Order: smaller priority number first (answers 0, images 1), then older first; many items may be under way.

sender.py and receiver.py are the protocol without a network; downlink.py and station.py connect them to
brokers.
"""
