// Places on the Earth: below satellites, below the sun, around stations. Degrees; longitudes -180 to 180.

import {
  degreesLat,
  degreesLong,
  eciToGeodetic,
  gstime,
  json2satrec,
  propagate,
  type OMMJsonObject,
  type SatRec,
} from "satellite.js";
import type { Elements } from "./description.ts";

export interface Point {
  latitude_deg: number;
  longitude_deg: number;
}

export interface SatellitePoint extends Point {
  altitude_km: number;
}

const EARTH_KM = 6371;
const J2000_MS = Date.UTC(2000, 0, 1, 12);
const RADIANS = Math.PI / 180;

/** The orbit of a satellite, by SGP4. */
export class Orbit {
  readonly #record: SatRec;

  constructor(elements: Elements) {
    // SGP4 does not use the other fields of an OMM.
    this.#record = json2satrec({ ...elements, MEAN_MOTION_DOT: 0, MEAN_MOTION_DDOT: 0 } as unknown as OMMJsonObject);
  }

  /** Returns where the satellite is; null where SGP4 has no answer. */
  at(date: Date): SatellitePoint | null {
    const state = propagate(this.#record, date);
    if (!state || typeof state.position === "boolean") return null;
    const place = eciToGeodetic(state.position, gstime(date));
    return {
      latitude_deg: degreesLat(place.latitude),
      longitude_deg: degreesLong(place.longitude),
      altitude_km: place.height,
    };
  }
}

/** Returns the point that has the sun overhead, to 0.02 degrees (Astronomical Almanac, section C). */
export function subsolarPoint(date: Date): Point {
  const days = (date.getTime() - J2000_MS) / 86_400_000;
  const anomaly = (357.528 + 0.9856003 * days) * RADIANS;
  const mean = 280.46 + 0.9856474 * days;
  const longitude = (mean + 1.915 * Math.sin(anomaly) + 0.02 * Math.sin(2 * anomaly)) * RADIANS;
  const obliquity = (23.439 - 4e-7 * days) * RADIANS;
  const ascension = Math.atan2(Math.cos(obliquity) * Math.sin(longitude), Math.cos(longitude));
  return {
    latitude_deg: Math.asin(Math.sin(obliquity) * Math.sin(longitude)) / RADIANS,
    longitude_deg: wrapped((ascension - gstime(date)) / RADIANS),
  };
}

/** Returns the outline of the night on a map: the terminator from west to east, closed over the dark pole. */
export function night(sun: Point): Point[] {
  const tilt = Math.tan((sun.latitude_deg || 1e-6) * RADIANS);
  const outline: Point[] = [];
  for (let longitude_deg = -180; longitude_deg <= 180; longitude_deg += 2) {
    const hour = (longitude_deg - sun.longitude_deg) * RADIANS;
    outline.push({ latitude_deg: Math.atan(-Math.cos(hour) / tilt) / RADIANS, longitude_deg });
  }
  const pole = sun.latitude_deg > 0 ? -90 : 90;
  outline.push({ latitude_deg: pole, longitude_deg: 180 }, { latitude_deg: pole, longitude_deg: -180 });
  return outline;
}

/** Returns how far from a station a satellite may be to be seen, as an angle at the Earth's centre, degrees. */
export function horizon_deg(altitude_km: number, mask_deg: number): number {
  const mask = mask_deg * RADIANS;
  return (Math.acos((EARTH_KM / (EARTH_KM + altitude_km)) * Math.cos(mask)) - mask) / RADIANS;
}

/** Returns the circle around a place, for an angle at the Earth's centre. */
export function circle(centre: Point, radius_deg: number): Point[] {
  const latitude = centre.latitude_deg * RADIANS;
  const radius = radius_deg * RADIANS;
  const points: Point[] = [];
  for (let bearing_deg = 0; bearing_deg <= 360; bearing_deg += 5) {
    const bearing = bearing_deg * RADIANS;
    const sine =
      Math.sin(latitude) * Math.cos(radius) + Math.cos(latitude) * Math.sin(radius) * Math.cos(bearing);
    const east = Math.atan2(
      Math.sin(bearing) * Math.sin(radius) * Math.cos(latitude),
      Math.cos(radius) - Math.sin(latitude) * sine,
    );
    points.push({
      latitude_deg: Math.asin(sine) / RADIANS,
      longitude_deg: wrapped(centre.longitude_deg + east / RADIANS),
    });
  }
  return points;
}

/** Returns the lines of a path that crosses the date line, cut there. */
export function cutAtDateLine(path: Point[]): Point[][] {
  const lines: Point[][] = [];
  let line: Point[] = [];
  for (const point of path) {
    const last = line.at(-1);
    if (last !== undefined && Math.abs(point.longitude_deg - last.longitude_deg) > 180) {
      const turn = point.longitude_deg > last.longitude_deg ? -360 : 360;
      line.push({ ...point, longitude_deg: point.longitude_deg + turn });
      lines.push(line);
      line = [{ ...last, longitude_deg: last.longitude_deg - turn }];
    }
    line.push(point);
  }
  lines.push(line);
  return lines;
}

function wrapped(longitude_deg: number): number {
  return ((((longitude_deg + 180) % 360) + 360) % 360) - 180;
}
