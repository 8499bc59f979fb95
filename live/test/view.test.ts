import assert from "node:assert/strict";
import { test } from "node:test";
import type { RunEvent } from "../src/events.ts";
import { readEvent, regionsOf, stagesOf } from "../src/events.ts";
import { partsOf, verdictOf } from "../src/frames.ts";
import { History } from "../src/history.ts";
import { isRight, RunView } from "../src/view.ts";

let sequence = 0;

function event(name: string, time_s: number | null, fields: object = {}): RunEvent {
  sequence += 1;
  return { event: name, node: "S", monotonic_s: 1000 + (time_s ?? -9), time_s, sequence, ...fields };
}

const ON_ITS_WAY = [
  event("captured", 1, { frame: "f", size_bytes: 10 }),
  event("inference_started", 2, { frame: "f" }),
  event("inference_finished", 4, { frame: "f", answer: "two", confidence: 0.3, decision: "offload" }),
  event("send_started", 10, { frame: "f", what: "image", size_bytes: 10 }),
  event("received", 13, { frame: "f", what: "image", satellite: "s" }),
  event("inference_started", 13, { frame: "f", satellite: "s" }),
  event("inference_finished", 15, { frame: "f", satellite: "s", answer: "three", confidence: 0.9 }),
  event("answered", 15, { frame: "f", satellite: "s", answer: "three", answered_by: "ground", confidence: null }),
];

test("a link is up from its event to the next, whatever comes late", () => {
  const view = new RunView();
  view.apply(event("link", 4, { node: "run", link: "S - G", up: true, downlink_up: true, uplink_up: false }));
  assert.deepEqual(view.links.get("S - G"), { up: true, downlinkUp: true, uplinkUp: false, since_s: 4 });
  view.apply(event("link", 9, { node: "run", link: "S - G", up: false }));
  view.apply(event("link", 5, { node: "run", link: "S - G", up: true }));
  assert.equal(view.links.get("S - G")?.up, false);
});

test("a frame's time is split at its events, and the ground's answer is compared with the truth", () => {
  const view = new RunView();
  ON_ITS_WAY.forEach((one) => view.apply(one));
  const frame = view.frames.get("f");
  assert.ok(frame);
  assert.deepEqual(partsOf(frame), [
    ["waited on board", 1],
    ["compact model", 2],
    ["waited for contact", 6],
    ["on the link", 3],
    ["on the ground", 2],
  ]);
  assert.equal(frame.board?.answer, "two");
  assert.equal(verdictOf(frame, "Three."), "right");
  assert.equal(verdictOf(frame, "two"), "wrong");
});

test("a frame without an answer says why", () => {
  const view = new RunView();
  view.apply(event("captured", 1, { frame: "f", size_bytes: 10 }));
  const frame = view.frames.get("f");
  assert.ok(frame);
  assert.equal(verdictOf(frame, "yes"), "under way");
  view.apply(event("dropped", 2, { frame: "f", what: "image", reason: "the policy dropped it" }));
  assert.equal(verdictOf(frame, "yes"), "ended");
  assert.equal(frame.trouble, "dropped: the policy dropped it");
});

test("answers are right as in the results: case, white space and full stops do not count", () => {
  assert.ok(isRight(" Two  Trees. ", "two trees"));
  assert.ok(!isRight("two", "three"));
});

test("the stages of an answer are told in order, and the regions of a frame that is sent as such", () => {
  const earlier = [{ stage: 0, confidence: null, network_confidence: 0.4 }];
  const regions = { rows: 1, columns: 2, relevance: [0.1, 0.9], reductions: [0, 1] };
  const fields = { frame: "f", answer: "two", stage: 1, confidence: 0.8, network_confidence: 0.7, decision: "offload" };
  const finished = event("inference_finished", 4, { ...fields, form: "regions", stages: earlier, regions });
  assert.deepEqual(stagesOf(finished).map(({ stage, confidence }) => [stage, confidence]), [
    [0, null],
    [1, 0.8],
  ]);
  assert.deepEqual(regionsOf(finished), regions);
  const older = event("inference_finished", 4, { frame: "f", answer: "two", confidence: 0.8 });
  assert.deepEqual([stagesOf(older), regionsOf(older)], [[], null]);
});

test("the backlog is the latest that a satellite, or a station about it, has told", () => {
  const view = new RunView();
  view.apply(event("contact", 5, { station: "G", up: false, waiting: 7, waiting_bytes: 900 }));
  view.apply(event("queue", 3, { items: 1, size_bytes: 2 }));
  assert.equal(view.backlogs.get("S")?.items, 7);
  view.apply(event("heartbeat", 6, { node: "G", satellite: "s", pending: 2, pending_bytes: 30 }));
  assert.deepEqual(view.backlogs.get("s"), { items: 2, bytes: 30, time_s: 6 });
});

test("charge and temperature are the latest that a satellite with a battery has told", () => {
  const view = new RunView();
  view.apply(event("power_state", 5, { charge: 0.4, temperature_c: 21, sunlit: false }));
  view.apply(event("power_state", 3, { charge: 0.9, temperature_c: 20, sunlit: true }));
  assert.deepEqual(view.power.get("S"), { charge: 0.4, temperature_c: 21, sunlit: false, time_s: 5 });
});

test("history shows any moment, forwards and backwards, and takes each event once", () => {
  const history = new History();
  [...ON_ITS_WAY].reverse().forEach((one) => history.add(one));
  ON_ITS_WAY.forEach((one) => history.add({ ...one }));
  history.add(event("jump", 20, { node: "run", from_s: 20, to_s: 50 }));
  assert.equal(history.at(12).frames.get("f")?.received_s, null);
  assert.equal(history.at(100).frames.get("f")?.answered_s, 15);
  assert.equal(history.at(100).jumped_s, 30);
  assert.equal(history.at(3).frames.get("f")?.boardEnded_s, null);
  assert.equal(history.at(3).jumps, 0);
});

test("an event that comes a little late is shown in a view that has gone on", () => {
  const history = new History();
  history.add(event("captured", 8, { frame: "g", size_bytes: 1 }));
  assert.equal(history.at(Infinity).frames.size, 1);
  history.add(event("captured", 7, { frame: "f", size_bytes: 1 }));
  assert.equal(history.at(Infinity).frames.size, 2);
});

test("lines that are no events are ignored", () => {
  assert.equal(readEvent('{"event": "captured", "node": "S"'), null);
  assert.equal(readEvent("[]"), null);
  assert.equal(readEvent('{"event": 1, "node": "S", "monotonic_s": 2}'), null);
  assert.equal(readEvent('{"event": "ready", "node": "S", "monotonic_s": 2}')?.event, "ready");
});
