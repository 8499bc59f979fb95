import assert from "node:assert/strict";
import { test } from "node:test";
import { countdown } from "../src/contacts.ts";
import { duration, seconds } from "../src/format.ts";
import { joined, later } from "../src/timeline.ts";

test("measurements of a run in progress are added to those before", () => {
  const first = [1, 2, 3].map((time_s) => ({ time_s, measured: 10 }));
  const second = [2, 3, 4].map((time_s) => ({ time_s, measured: 20 }));
  assert.deepEqual(later(first, second).map(({ time_s, measured }) => [time_s, measured]), [
    [1, 10],
    [2, 10],
    [3, 10],
    [4, 20],
  ]);
});

test("a plot has requested and measured values at all their times", () => {
  const [times, requested, measured] = joined([0, 10], [3, 4], [{ time_s: 5, measured: 6 }], 0.5);
  assert.deepEqual([...(times ?? [])], [0, 5, 10]);
  assert.equal(requested?.[2], 2);
  assert.equal(measured?.[1], 3);
});

test("the countdown leads to the next AOS or LOS of the trace", () => {
  const link = { name: "S - G", ends: ["S", "G"] as [string, string], kind: "contact" as const, contacts: [[10, 80]] as [number, number][] };
  assert.equal(countdown(link, 4).text, "AOS in 6 s");
  assert.equal(countdown(link, 15).text, "LOS in 1:05 min");
  assert.equal(countdown(link, 80).text, "no further contact");
});

test("durations are short", () => {
  assert.equal(duration(3725), "1:02:05 h");
  assert.equal(seconds(0.0804), "80 ms");
  assert.equal(seconds(4.21), "4.2 s");
});
