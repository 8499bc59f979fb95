// The page of a run: puts source, history, clock and the parts of the page together.

import "uplot/dist/uPlot.min.css";
import "./page.css";
import { ReplayClock, RunClock, type Clock } from "./clock.ts";
import { ContactTable } from "./contacts.ts";
import type { Description } from "./description.ts";
import { byId, setText } from "./dom.ts";
import { number, type RunEvent, type RunState } from "./events.ts";
import { duration, NOT_AVAILABLE, utc } from "./format.ts";
import { FrameFeed } from "./frames.ts";
import { History } from "./history.ts";
import { WorldMap } from "./map.ts";
import { control } from "./scrubber.ts";
import { SatelliteTable } from "./satellites.ts";
import { Server } from "./server.ts";
import { sourceOf, type Source } from "./source.ts";
import { LinkTimeline } from "./timeline.ts";

const TABLES_EVERY_MS = 250;
const MAP_EVERY_MS = 200; // of a run, which needs the processors itself
const FAST_MAP_EVERY_MS = 30; // of a run ahead of real time

class Page {
  readonly #run: Description;
  readonly #server: Server;
  readonly #history = new History();
  readonly #map: WorldMap;
  readonly #contacts: ContactTable;
  readonly #frames: FrameFeed;
  readonly #satellites: SatelliteTable;
  readonly #timeline: LinkTimeline;
  readonly #live: RunClock | null;
  #clock: Clock;
  #state: RunState = { phase: "preparing", time_s: null, speed: 1 };
  #isConnected = false;
  #tables_ms = 0;
  #drawn_ms = 0;

  constructor(run: Description, server: Server, source: Source) {
    this.#run = run;
    this.#server = server;
    this.#live = source.isLive ? new RunClock() : null;
    this.#clock = this.#live ?? new ReplayClock(run.end_s);
    this.#map = new WorldMap(byId<HTMLCanvasElement>("map"), run);
    this.#timeline = new LinkTimeline(byId("timeline"), byId<HTMLSelectElement>("link"), run, server);
    this.#contacts = new ContactTable(byId("contacts"), run, (link) => {
      this.#choose(link.ends[0]);
      void this.#timeline.choose(link.name);
    });
    this.#frames = new FrameFeed(byId("frames"), byId("frame-count"), run, server);
    this.#satellites = new SatelliteTable(byId("satellites"), run, (name) => this.#choose(name));
    document.title = `${run.name} - SpaceVerse`;
    setText(byId("name"), run.name);
    setText(byId("description"), run.description);
    const missing = this.#map.withoutOrbit;
    const names = missing.slice(0, 5).join(", ") + (missing.length > 5 ? ", ..." : "");
    setText(byId("no-orbit"), missing.length === 0 ? "" : `Orbit ${NOT_AVAILABLE}, not on the map: ${names}`);
  }

  async begin(source: Source): Promise<void> {
    await source.start({
      event: (event) => this.#take(event),
      state: (state) => {
        this.#state = state;
        this.#isConnected &&= state.phase !== "ended";
        this.#live?.tell(state);
      },
      connected: (yes) => {
        this.#isConnected = yes;
      },
    });
    if (source.isLive) this.#offerStop();
    else this.#offerReplay();
    const frame = (now_ms: number): void => {
      this.#show(now_ms);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  #take(event: RunEvent): void {
    this.#history.add(event);
    const to_s = event.event === "jump" ? number(event, "to_s") : null;
    if (to_s !== null && this.#isConnected) this.#live?.jump(to_s);
  }

  #choose(satellite: string): void {
    this.#map.chosen = satellite;
    this.#drawn_ms = 0;
  }

  #offerStop(): void {
    const stop = byId<HTMLButtonElement>("stop");
    stop.hidden = false;
    stop.addEventListener("click", () => {
      if (!window.confirm("Stop this run? Everything that it has made is removed, and it gives no results.")) return;
      stop.disabled = true;
      void this.#server.stop();
    });
  }

  #offerReplay(): void {
    const clock = new ReplayClock(Math.max(this.#run.end_s, this.#history.end_s));
    this.#clock = clock;
    control(clock, byId("replay"));
  }

  #show(now_ms: number): void {
    const time_s = this.#clock.now_s();
    const pause_ms = this.#state.speed > 1 ? FAST_MAP_EVERY_MS : MAP_EVERY_MS;
    if (this.#live !== null && now_ms < this.#drawn_ms + pause_ms) return;
    this.#drawn_ms = now_ms;
    const view = this.#history.at(this.#live === null ? (time_s ?? 0) : Number.POSITIVE_INFINITY);
    this.#map.draw(time_s ?? 0, view);
    if (now_ms < this.#tables_ms + TABLES_EVERY_MS) return;
    this.#tables_ms = now_ms;
    this.#contacts.show(time_s ?? 0, view);
    this.#frames.show(view);
    this.#satellites.show(view);
    this.#timeline.show(time_s ?? 0, this.#live !== null && this.#isConnected);
    this.#tell(time_s, view.jumps, view.jumped_s, view.notice);
  }

  #tell(time_s: number | null, jumps: number, jumped_s: number, notice: string): void {
    const start = Date.parse(this.#run.start_utc);
    setText(byId("utc"), time_s === null ? NOT_AVAILABLE : utc(new Date(start + time_s * 1000)));
    setText(byId("time"), time_s === null ? NOT_AVAILABLE : `${time_s.toFixed(0)} s`);
    setText(byId("speed"), this.#live === null ? "replay" : `${Number(this.#state.speed.toPrecision(3))} x`);
    setText(byId("jumps"), jumps === 0 ? "none" : `${jumps}, over ${duration(jumped_s)}`);
    setText(byId("notice"), notice);
    const phase = this.#live === null ? "finished run" : this.#state.phase;
    const isLost = this.#live !== null && !this.#isConnected && this.#state.phase !== "ended";
    setText(byId("phase"), isLost ? "connecting" : phase);
    byId<HTMLButtonElement>("stop").disabled ||= this.#state.phase === "ended";
    const up = this.#contacts.up;
    byId("map").ariaLabel = up.length === 0 ? "World map. No contact." : `World map. Contacts: ${up.join(", ")}.`;
  }
}

async function main(): Promise<void> {
  const server = new Server(location.hash.slice(1));
  try {
    const run = await server.json<Description>("/run.json");
    if (run === null) throw new Error("The server does not know the run.");
    const source = await sourceOf(server);
    await new Page(run, server, source).begin(source);
    byId("main").ariaBusy = "false";
  } catch (error) {
    setText(byId("phase"), error instanceof Error ? error.message : String(error));
  }
}

window.addEventListener("hashchange", () => location.reload()); // another token
void main();
