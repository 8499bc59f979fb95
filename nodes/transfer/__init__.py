"""Transfer of items (images, answers) from satellites to the ground over MQTT: protocol version 1.

    satellite                               broker                         ground program
        |--- manifest(id, size, sha256, chunk size, expires, query=1) ------------>|
        |--- chunk(id, offset=0) ------------------------------------------------->|  the chunks of a new
        |--- chunk(id, offset=1*c) ----------------------------------------------->|  item follow at once
        |<-- have(id, query=1, base, bitmap) --------------------------------------|  end-to-end
        x    contact lost, with all payloads in flight; another station may follow
        |--- manifest(id, ..., query=2) ------------------------------------------>|  "which chunks arrived?"
        |--- chunk(id, offset never sent before) --------------------------------->|  meanwhile
        |<-- have(id, query=2, base, bitmap) --------------------------------------|
        |--- chunk(id, each missing offset) -------------------------------------->|  sha256 verified,
        |<-- done(id) -------------------------------------------------------------|  file and folder fsynced
        |    release: the outbox deletes the bytes and keeps the id                |

* Topics: `spaceverse/down/<satellite>` carries manifests and chunks of images, `.../<satellite>/express`
  carries answers and heartbeats, `spaceverse/up/<satellite>` the replies to both, and `spaceverse/up` the
  ground's `hello` to all satellites. <satellite> is the slug of the satellite's name and also its user name.
  Each topic has one writer, so a broker can reject all others. In addition, an item's id is a hash of
  satellite, kind, frame and content, and the ground refuses a manifest whose id does not match its topic.
* Two connections are opened and closed together, so that an urgent message never waits behind an image in
  a socket, at either end. Both share the link's queue. Therefore the window limits the bytes in flight to
  one round trip plus 0.25 s, BBR controls the sending rate where the kernel supports it, and on long paths
  the kernel paces to 1.25 times the planning rate (window.py, downlink.py).
* All messages have QoS 0: TCP carries them to the broker, and a broker's acknowledgement proves nothing
  about the other end. Only the ground program's replies count.
* Every payload is a msgpack map with `v` (version) and `t` (type). Unknown keys are ignored, so that fields
  can be added. Any other payload is refused and counted, with at most one event per second and sender.
* An item of up to 4096 bytes travels inside its manifest. An image is always sent in chunks, each of 0.1 s
  at the planning rate, 4 to 256 KiB, or shorter if it is a piece.
* Transfers are idempotent by (item, offset). An item that is created again after a crash has the same id.
  A payload of a completed item is answered with another `done`.
* `query` counts the manifests of an item. A connection preserves order, so a chunk that was sent before
  query q and is missing from the reply to q is lost. It is sent again at once, without a timer.
* After a silence (no reply for several round trips) the satellite repeats the manifests of all open items.
  If the silence continues, it changes to another station in contact, if there is one. It also repeats the
  manifests after `hello`, which a ground program sends when it starts or reconnects to its broker, and after
  `unknown`, the reply to a chunk without a manifest.
* Damage: both ends keep a digest of each stored chunk. The satellite refuses to send a damaged chunk. If an
  item's sha256 does not match, the ground requests its damaged chunks again, or all chunks if none is
  damaged. After three attempts it replies `refused`; the satellite then drops the item and reports it.
  Stored manifests carry a digest; the name of a frame is also in the names of the outbox's files,
  and the ground takes one message of each frame, so that no frame gets a second, different answer.
* Pieces: the messages of several prompts about one picture have pieces in common, such as the overview. Each
  is a chunk, and the manifest has the digest of each, and names the picture. The ground copies what it
  holds in other items of the picture into a new one before it replies. So the satellite asks before it sends
  an item of a picture of which it has sent one before, and sends one item of a picture after the other
  (pieces/, Siblings in sender.py). No item depends on another; older satellites send no pieces.
* Loss after `done`: by `again(id, sha256)` the ground asks for an item whose bytes were removed, cut or
  changed before it was answered. The satellite keeps released bytes while there is room (repeats/kept.py). It
  replies `coming` and sends the item like a new one, at most three times, or `gone` with a reason, which the
  ground reports. Older satellites do not know `again`: after 30 requests without a reply the frame is lost.
* Space: both boxes are bounded (outbox.py, senders/space.py), and a full disk counts as a full box. The
  outbox drops the oldest item of the lowest priority. The inbox deletes the bytes of answered items, then
  unfinished items that received nothing for a minute; otherwise it replies `wait`, and the item is offered
  again later. Every drop is reported. One satellite may hold half of the inbox, or one item.
* Disks that refuse (no descriptors, read-only, full): the ground replies `wait`, the satellite keeps the
  item, and both try again. What a process can never write (EFBIG) is reported.
* Deadlines: from scenario second `expires` on, an item is worthless; whichever end holds it drops and
  reports it.
* Storage: plain files, one folder per item. The model and the researcher need images as files anyway, and a
  database would be a second copy of the state to keep consistent. Chunks are not fsynced one by one: the
  sender, which fsyncs its manifest, keeps them all until `done`, and the ground sends `done` after fsync of
  manifest and bytes and a sha256 over the stored bytes. A killed process loses nothing that it acknowledged.
  A power failure may cost a repeat, never a wrong image.
* Floods: all satellites share a station's connections to its broker. senders/ bounds what each may send
  (rates, sizes, unfinished items, waiting bytes), discards what is above it before it is parsed, and serves
  the satellites in turns by the time that they cost. What was refused is counted and reported by satellite.
* Stations may share one inbox folder. The state of each item is on disk under a separate lock, and exactly
  one station gets the claim to answer it.
* Order: the smallest priority number first (answers 0, images 1), then the oldest item; many items may be
  under way at once. The satellite sends until a contact ends, and continues interrupted items in the next
  one. If `contact_ends_s` is configured (the testbed's runs leave it empty), the satellite starts no item
  that cannot finish in time, except one that is too large for any contact of this length.

sender.py and receiver.py implement the protocol without a network; downlink.py and station.py connect them
to brokers.
"""
