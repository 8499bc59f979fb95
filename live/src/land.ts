// Coast lines: Natural Earth 1:110m (public domain), as the package world-atlas ships it.

import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import land from "world-atlas/land-110m.json";

type Ring = [number, number][];

/** Outlines of land: rings of longitude and latitude, degrees; those that cross the date line, once at each side. */
export const LAND: Ring[] = rings().flatMap((ring) => drawable(ring));

function rings(): Ring[] {
  const topology = land as unknown as Topology<{ land: GeometryCollection }>;
  const found: Ring[] = [];
  for (const { geometry } of feature(topology, topology.objects.land).features) {
    if (geometry.type === "MultiPolygon") found.push(...(geometry.coordinates.flat() as Ring[]));
    if (geometry.type === "Polygon") found.push(...(geometry.coordinates as Ring[]));
  }
  return found;
}

/** Returns a ring without jumps at the date line, which may leave the map, and its part on the other side. */
export function drawable(ring: Ring): Ring[] {
  const whole: Ring = [];
  let turn = 0;
  for (const [index, [longitude, latitude]] of ring.entries()) {
    const step = longitude - (ring[index - 1]?.[0] ?? longitude);
    if (Math.abs(step) > 180) turn -= Math.sign(step) * 360;
    whole.push([longitude + turn, latitude]);
  }
  if (turn !== 0) whole.push([(ring[0]?.[0] ?? 0) + turn, -90], [ring[0]?.[0] ?? 0, -90]); // around a pole
  const beyond = Math.max(...whole.map(([longitude]) => longitude)) > 180 ? -360 : 360;
  const isInside = whole.every(([longitude]) => Math.abs(longitude) <= 180);
  return isInside ? [whole] : [whole, whole.map(([longitude, latitude]) => [longitude + beyond, latitude])];
}
