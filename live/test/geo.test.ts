import assert from "node:assert/strict";
import { test } from "node:test";
import { circle, cutAtDateLine, horizon_deg, night, Orbit, subsolarPoint } from "../src/geo.ts";
import { drawable, LAND } from "../src/land.ts";

// FLOCK 2P-1 as testbed/live/description.py tells it, and its sub-satellite point by skyfield.
const FLOCK = {
  NORAD_CAT_ID: "41617",
  EPOCH: "2018-01-20T22:08:35.423808Z",
  MEAN_MOTION: 15.23813118,
  ECCENTRICITY: 0.0011425,
  INCLINATION: 97.4368,
  RA_OF_ASC_NODE: 87.1954,
  ARG_OF_PERICENTER: 46.9108,
  MEAN_ANOMALY: 313.3084,
  BSTAR: 0.00010617,
};
const BELOW = [
  ["2018-01-20T14:38:47Z", 82.3009, 33.4779],
  ["2018-01-20T15:37:47Z", -47.4859, 100.6514],
] as const;

test("a satellite is where skyfield has it, to two kilometres", () => {
  const orbit = new Orbit(FLOCK);
  for (const [moment, latitude_deg, longitude_deg] of BELOW) {
    const point = orbit.at(new Date(moment));
    assert.ok(point);
    assert.ok(Math.abs(point.latitude_deg - latitude_deg) < 0.02);
    assert.ok(Math.abs(point.longitude_deg - longitude_deg) < 0.02);
  }
});

test("the sun is over the tropic of Cancer at noon of the June solstice", () => {
  const sun = subsolarPoint(new Date("2018-06-21T12:00:00Z"));
  assert.ok(Math.abs(sun.latitude_deg - 23.43) < 0.05);
  assert.ok(Math.abs(sun.longitude_deg - 0.45) < 0.05); // the equation of time: 1.8 minutes
});

test("night covers the pole that the sun has left", () => {
  const june = night({ latitude_deg: 23, longitude_deg: 0 });
  assert.equal(june.at(-1)?.latitude_deg, -90);
  const noon = june.find(({ longitude_deg }) => longitude_deg === 0);
  const midnight = june.find(({ longitude_deg }) => longitude_deg === 180);
  assert.ok(Math.abs((noon?.latitude_deg ?? 0) + 67) < 0.1);
  assert.ok(Math.abs((midnight?.latitude_deg ?? 0) - 67) < 0.1);
});

test("a satellite at 500 km is seen over 1,560 km down to 10 degrees", () => {
  assert.ok(Math.abs(horizon_deg(500, 10) - 14.1) < 0.2);
  assert.ok(horizon_deg(500, 30) < horizon_deg(500, 10));
});

test("a circle keeps its distance, also around a pole", () => {
  const points = circle({ latitude_deg: 85, longitude_deg: 10 }, 10);
  assert.ok(Math.max(...points.map(({ latitude_deg }) => latitude_deg)) <= 90);
  assert.ok(Math.abs(Math.min(...points.map(({ latitude_deg }) => latitude_deg)) - 75) < 0.01);
});

test("a path is cut where it crosses the date line", () => {
  const lines = cutAtDateLine([
    { latitude_deg: 0, longitude_deg: 170 },
    { latitude_deg: 10, longitude_deg: -170 },
  ]);
  assert.deepEqual(lines.map((line) => line.map(({ longitude_deg }) => longitude_deg)), [
    [170, 190],
    [-190, -170],
  ]);
});

test("land at the date line is drawn at both sides, without lines across the map", () => {
  for (const ring of LAND) {
    for (const [index, [longitude, latitude]] of ring.entries()) {
      const [before, beside] = ring[index - 1] ?? [longitude, latitude];
      assert.ok(Math.abs(longitude - before) < 180 || (latitude === -90 && beside === -90));
    }
  }
  assert.equal(drawable([[170, 60], [-170, 60], [-170, 70], [170, 60]]).length, 2);
});
