// The map: land, night, stations with the circles that they see, satellites with their tracks, contacts.

import type { Description } from "./description.ts";
import { circle, cutAtDateLine, horizon_deg, night, Orbit, subsolarPoint, type Point } from "./geo.ts";
import { LAND } from "./land.ts";
import type { RunView } from "./view.ts";

const TRACK_MIN = 48; // half an orbit before and after
const TRACK_STEP_S = 60;
const TRACKS_MAX = 6; // of more satellites, only the chosen one has its track drawn
const TRACK_EVERY_S = 30;
const NIGHT_EVERY_S = 60;
const TYPICAL_KM = 500;

interface Track {
  from_s: number;
  lines: Point[][];
}

export class WorldMap {
  readonly #canvas: HTMLCanvasElement;
  readonly #base = document.createElement("canvas");
  readonly #run: Description;
  readonly #start: number;
  readonly #orbits = new Map<string, Orbit>();
  readonly #tracks = new Map<string, Track>();
  readonly #circles = new Map<string, Point[][]>();
  #baseOf = "";
  #night: { from_s: number; outline: Point[] } | null = null;
  #colours: Record<string, string> = {};
  chosen: string | null = null;

  constructor(canvas: HTMLCanvasElement, run: Description) {
    this.#canvas = canvas;
    this.#run = run;
    this.#start = Date.parse(run.start_utc);
    for (const satellite of run.satellites) {
      if (satellite.orbit !== null) this.#orbits.set(satellite.name, new Orbit(satellite.orbit));
    }
  }

  /** Names of satellites that cannot be drawn, since their links follow no orbit. */
  get withoutOrbit(): string[] {
    return this.#run.satellites.filter(({ name }) => !this.#orbits.has(name)).map(({ name }) => name);
  }

  /** Draws the moment of a scenario time. */
  draw(time_s: number, view: RunView): void {
    const context = this.#prepared();
    if (context === null) return;
    const date = this.#date(time_s);
    const places = new Map<string, Point>();
    let altitude_km = TYPICAL_KM;
    for (const [name, orbit] of this.#orbits) {
      const point = orbit.at(date);
      if (point === null) continue;
      places.set(name, point);
      altitude_km = point.altitude_km;
    }
    for (const { name, place } of this.#run.stations) if (place !== null) places.set(name, place);
    context.drawImage(this.#base, 0, 0, this.#width, this.#height);
    this.#drawNight(context, time_s);
    this.#drawCircles(context, altitude_km);
    for (const name of this.#orbits.keys()) {
      if (this.#orbits.size <= TRACKS_MAX || name === this.chosen) this.#drawTrack(context, name, time_s);
    }
    this.#drawContacts(context, view, places);
    this.#drawNodes(context, places);
  }

  get #width(): number {
    return this.#canvas.clientWidth;
  }

  get #height(): number {
    return this.#canvas.clientHeight;
  }

  #date(time_s: number): Date {
    return new Date(this.#start + time_s * 1000);
  }

  /** Fits the canvas to its place on the page, and draws what does not move. */
  #prepared(): CanvasRenderingContext2D | null {
    const scale = window.devicePixelRatio || 1;
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const now = `${this.#width} ${this.#height} ${scale} ${dark}`;
    const context = this.#canvas.getContext("2d");
    if (context === null || this.#width === 0) return null;
    if (now !== this.#baseOf) {
      this.#baseOf = now;
      const style = getComputedStyle(this.#canvas);
      for (const name of ["ocean", "land", "night", "grid", "station", "track", "satellite", "contact", "text"]) {
        this.#colours[name] = style.getPropertyValue(`--map-${name}`).trim();
      }
      for (const canvas of [this.#canvas, this.#base]) {
        canvas.width = Math.round(this.#width * scale);
        canvas.height = Math.round(this.#height * scale);
      }
      this.#drawBase(scale);
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.font = "12px system-ui, sans-serif";
    return context;
  }

  #x(longitude_deg: number): number {
    return ((longitude_deg + 180) / 360) * this.#width;
  }

  #y(latitude_deg: number): number {
    return ((90 - latitude_deg) / 180) * this.#height;
  }

  #drawBase(scale: number): void {
    const context = this.#base.getContext("2d");
    if (context === null) return;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = this.#colour("ocean");
    context.fillRect(0, 0, this.#width, this.#height);
    context.fillStyle = this.#colour("land");
    context.beginPath();
    for (const ring of LAND) {
      for (const [number, [longitude_deg, latitude_deg]] of ring.entries()) {
        const x = this.#x(longitude_deg);
        const y = this.#y(latitude_deg);
        if (number === 0) context.moveTo(x, y);
        else context.lineTo(x, y);
      }
      context.closePath();
    }
    context.fill("evenodd");
    context.strokeStyle = this.#colour("grid");
    context.lineWidth = 0.5;
    context.beginPath();
    for (let degrees = -150; degrees <= 150; degrees += 30) {
      context.moveTo(this.#x(degrees), 0);
      context.lineTo(this.#x(degrees), this.#height);
      if (Math.abs(degrees) < 90) {
        context.moveTo(0, this.#y(degrees));
        context.lineTo(this.#width, this.#y(degrees));
      }
    }
    context.stroke();
  }

  #drawNight(context: CanvasRenderingContext2D, time_s: number): void {
    if (this.#night === null || Math.abs(time_s - this.#night.from_s) > NIGHT_EVERY_S) {
      this.#night = { from_s: time_s, outline: night(subsolarPoint(this.#date(time_s))) };
    }
    context.fillStyle = this.#colour("night");
    context.beginPath();
    this.#trace(context, this.#night.outline);
    context.closePath();
    context.fill();
  }

  #drawCircles(context: CanvasRenderingContext2D, altitude_km: number): void {
    context.strokeStyle = this.#colour("station");
    context.lineWidth = 1;
    context.beginPath();
    for (const { name, place, mask_deg } of this.#run.stations) {
      if (place === null || mask_deg === null) continue;
      let lines = this.#circles.get(name);
      if (lines === undefined) {
        lines = cutAtDateLine(circle(place, horizon_deg(altitude_km, mask_deg)));
        this.#circles.set(name, lines);
      }
      for (const line of lines) this.#trace(context, line);
    }
    context.stroke();
  }

  #drawTrack(context: CanvasRenderingContext2D, name: string, time_s: number): void {
    let track = this.#tracks.get(name);
    if (track === undefined || Math.abs(time_s - track.from_s) > TRACK_EVERY_S) {
      track = { from_s: time_s, lines: cutAtDateLine(this.#path(name, time_s)) };
      this.#tracks.set(name, track);
    }
    context.strokeStyle = this.#colour("track");
    context.lineWidth = name === this.chosen ? 2 : 1;
    context.beginPath();
    for (const line of track.lines) this.#trace(context, line);
    context.stroke();
  }

  #path(name: string, time_s: number): Point[] {
    const orbit = this.#orbits.get(name);
    const points: Point[] = [];
    for (let offset_s = -TRACK_MIN * 60; offset_s <= TRACK_MIN * 60; offset_s += TRACK_STEP_S) {
      const point = orbit?.at(this.#date(time_s + offset_s));
      if (point) points.push(point);
    }
    return points;
  }

  #drawContacts(context: CanvasRenderingContext2D, view: RunView, places: Map<string, Point>): void {
    context.strokeStyle = this.#colour("contact");
    context.lineWidth = 2.5;
    context.beginPath();
    for (const { name, ends, kind } of this.#run.links) {
      const [from, to] = [places.get(ends[0]), places.get(ends[1])];
      if (kind === "earth" || !view.links.get(name)?.up || from === undefined || to === undefined) continue;
      for (const line of cutAtDateLine([from, to])) this.#trace(context, line);
    }
    context.stroke();
  }

  #drawNodes(context: CanvasRenderingContext2D, places: Map<string, Point>): void {
    const labelled = this.#orbits.size <= TRACKS_MAX * 4;
    for (const { name, place } of this.#run.stations) {
      if (place === null) continue;
      const [x, y] = [this.#x(place.longitude_deg), this.#y(place.latitude_deg)];
      context.fillStyle = this.#colour("station");
      context.beginPath();
      context.moveTo(x, y - 6);
      context.lineTo(x + 5, y + 4);
      context.lineTo(x - 5, y + 4);
      context.closePath();
      context.fill();
      this.#label(context, name, x, y + 16);
    }
    for (const name of this.#orbits.keys()) {
      const point = places.get(name);
      if (point === undefined) continue;
      const [x, y] = [this.#x(point.longitude_deg), this.#y(point.latitude_deg)];
      context.fillStyle = this.#colour("satellite");
      context.beginPath();
      context.arc(x, y, name === this.chosen ? 6 : 4, 0, 2 * Math.PI);
      context.fill();
      if (labelled || name === this.chosen) this.#label(context, name, x, y - 9);
    }
  }

  #label(context: CanvasRenderingContext2D, name: string, x: number, y: number): void {
    const half = context.measureText(name).width / 2;
    context.fillStyle = this.#colour("text");
    context.fillText(name, Math.min(Math.max(x - half, 2), this.#width - 2 * half - 2), Math.max(y, 12));
  }

  #trace(context: CanvasRenderingContext2D, line: Point[]): void {
    for (const [number, point] of line.entries()) {
      const x = this.#x(point.longitude_deg);
      const y = this.#y(point.latitude_deg);
      if (number === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
  }

  #colour(name: string): string {
    return this.#colours[name] ?? "";
  }
}
