// Requested and measured rate and delay of one link over time.

import uPlot from "uplot";
import type { Description } from "./description.ts";
import { element, setText } from "./dom.ts";
import { NOT_AVAILABLE } from "./format.ts";
import type { Server } from "./server.ts";

/** What a trace asks of its link, as testbed/live/description.py tells it. */
interface Requested {
  time_s: number[];
  down_bit_s: number[];
  up_bit_s: number[];
  down_delay_s: number[];
  up_delay_s: number[];
}

interface Sample {
  time_s: number;
  measured: number;
}

/** What was measured of a link: round trips in seconds, rates in bit/s. */
interface Measured {
  rtt: Sample[];
  down_rate: Sample[];
}

const HEIGHT_PX = 150;
const MEASURED_EVERY_MS = 2000;

export class LinkTimeline {
  readonly #place: HTMLElement;
  readonly #select: HTMLSelectElement;
  readonly #server: Server;
  readonly #note = element("p");
  #rate: uPlot | null = null;
  #delay: uPlot | null = null;
  #requested: Requested | null = null;
  readonly #measured: Measured = { rtt: [], down_rate: [] };
  #name = "";
  #time_s = 0;
  #measured_ms = 0;

  constructor(place: HTMLElement, select: HTMLSelectElement, run: Description, server: Server) {
    this.#place = place;
    this.#select = select;
    this.#server = server;
    for (const { name } of run.links) select.append(element("option", { value: name }, name));
    select.addEventListener("change", () => void this.choose(select.value));
    window.addEventListener("resize", () => this.#fit());
    const first = run.links[0];
    if (first !== undefined) void this.choose(first.name);
  }

  /** Shows a link. */
  async choose(name: string): Promise<void> {
    this.#select.value = name;
    this.#name = name;
    this.#measured.rtt = [];
    this.#measured.down_rate = [];
    this.#requested = await this.#server.json<Requested>(`/links/${encodeURIComponent(name)}`);
    await this.#renew();
  }

  /** Moves the line of the present, and asks for new measurements of a run that goes on; to be called often. */
  show(time_s: number, goesOn: boolean): void {
    this.#time_s = time_s;
    if (goesOn && performance.now() > this.#measured_ms + MEASURED_EVERY_MS) void this.#renew();
    this.#rate?.redraw(false);
    this.#delay?.redraw(false);
  }

  async #renew(): Promise<void> {
    this.#measured_ms = performance.now();
    const requested = this.#requested;
    const told = await this.#server.json<Measured>(`/measured/${encodeURIComponent(this.#name)}`).catch(() => null);
    if (requested === null || requested !== this.#requested) return;
    const measured = this.#measured;
    measured.rtt = later(measured.rtt, told?.rtt ?? []);
    measured.down_rate = later(measured.down_rate, told?.down_rate ?? []);
    const rate = joined(requested.time_s, requested.down_bit_s, measured.down_rate, 1e-6);
    const rtts = requested.down_delay_s.map((delay_s, index) => delay_s + (requested.up_delay_s[index] ?? 0));
    const delay = joined(requested.time_s, rtts, measured.rtt, 1e3);
    if (this.#rate === null || this.#delay === null) {
      this.#rate = this.#plot("downlink, Mbit/s", rate);
      this.#delay = this.#plot("round trip, ms", delay);
      this.#place.append(this.#note);
    } else {
      this.#rate.setData(rate);
      this.#delay.setData(delay);
    }
    const count = measured.rtt.length + measured.down_rate.length;
    setText(this.#note, count > 0 ? `line: requested, dots: ${count} measurements` : `measurements: ${NOT_AVAILABLE}`);
  }

  #plot(label: string, data: uPlot.AlignedData): uPlot {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 0.5 } };
    const options: uPlot.Options = {
      width: this.#place.clientWidth,
      height: HEIGHT_PX,
      title: label,
      scales: { x: { time: false } },
      axes: [axis, { ...axis, size: 55 }],
      series: [
        { label: "scenario time, s" },
        { label: "requested", stroke: colour("--requested"), paths: uPlot.paths.stepped?.({ align: 1 }), points: { show: false } },
        { label: "measured", stroke: colour("--measured"), paths: () => null, points: { show: true, size: 4 } },
      ],
      legend: { show: false },
      hooks: { draw: [(plot) => this.#drawNow(plot, colour("--text"))] },
    };
    return new uPlot(options, data, this.#place);
  }

  #drawNow(plot: uPlot, stroke: string): void {
    const x = plot.valToPos(this.#time_s, "x", true);
    if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) return;
    plot.ctx.save();
    plot.ctx.strokeStyle = stroke;
    plot.ctx.beginPath();
    plot.ctx.moveTo(x, plot.bbox.top);
    plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
    plot.ctx.stroke();
    plot.ctx.restore();
  }

  #fit(): void {
    const size = { width: this.#place.clientWidth, height: HEIGHT_PX };
    this.#rate?.setSize(size);
    this.#delay?.setSize(size);
  }
}

/** Returns samples with those that came after them: a run tells its latest ones only. */
export function later(known: Sample[], told: Sample[]): Sample[] {
  const last_s = known.at(-1)?.time_s ?? Number.NEGATIVE_INFINITY;
  return [...known, ...told.filter(({ time_s }) => time_s > last_s)];
}

/** Returns the columns of a plot: time, requested, measured. */
export function joined(times_s: number[], requested: number[], samples: Sample[], factor: number): uPlot.AlignedData {
  return uPlot.join([
    [times_s, requested.map((value) => value * factor)],
    [samples.map(({ time_s }) => time_s), samples.map(({ measured }) => measured * factor)],
  ]);
}
