// What a run looks like after some of its events. It is the same for a live run and for a replay.

import { number, text, type RunEvent } from "./events.ts";

export interface LinkView {
  up: boolean;
  downlinkUp: boolean;
  uplinkUp: boolean;
  since_s: number;
}

/** One frame on its way. Times are scenario seconds; null where an event has not come. */
export interface FrameView {
  frame: string;
  captured_s: number | null;
  boardBegan_s: number | null;
  boardEnded_s: number | null;
  sendBegan_s: number | null;
  received_s: number | null;
  answered_s: number | null;
  board: RunEvent | null;
  ground: RunEvent | null;
  answered: RunEvent | null;
  sentBytes: number | null;
  trouble: string | null;
}

export interface BacklogView {
  items: number;
  bytes: number;
  time_s: number;
}

/** A satellite's battery, as a share of its capacity, and its temperature. */
export interface PowerView {
  charge: number;
  temperature_c: number;
  sunlit: boolean;
  time_s: number;
}

/** Times of a frame's way, in order. */
export const STEPS = ["captured_s", "boardBegan_s", "boardEnded_s", "sendBegan_s", "received_s", "answered_s"] as const;

const ENDS = new Set(["dropped", "expired", "refused", "send_refused", "inference_failed"]);

export class RunView {
  readonly links = new Map<string, LinkView>();
  readonly frames = new Map<string, FrameView>();
  readonly backlogs = new Map<string, BacklogView>();
  readonly power = new Map<string, PowerView>();
  speed: number | null = null;
  jumps = 0;
  jumped_s = 0;
  notice = "";

  apply(event: RunEvent): void {
    const time_s = event.time_s ?? -1;
    switch (event.event) {
      case "link":
        this.#link(event, time_s);
        break;
      case "speed":
        this.speed = number(event, "speed");
        break;
      case "jump":
        this.jumps += 1;
        this.jumped_s += (number(event, "to_s") ?? 0) - (number(event, "from_s") ?? 0);
        break;
      case "queue":
        this.#backlog(event.node, number(event, "items"), number(event, "size_bytes"), time_s);
        break;
      case "contact":
        this.#backlog(event.node, number(event, "waiting"), number(event, "waiting_bytes"), time_s);
        break;
      case "heartbeat":
        this.#backlog(text(event, "satellite"), number(event, "pending"), number(event, "pending_bytes"), time_s);
        break;
      case "power_state":
        this.#power(event, time_s);
        break;
      case "program":
      case "fault_began":
        this.notice = notice(event);
        break;
      default:
        this.#frame(event, time_s);
    }
  }

  #link(event: RunEvent, time_s: number): void {
    const name = text(event, "link") ?? "";
    const before = this.links.get(name);
    if (before !== undefined && before.since_s > time_s) return; // came late
    const up = event.up === true;
    const downlinkUp = typeof event.downlink_up === "boolean" ? event.downlink_up : up;
    const uplinkUp = typeof event.uplink_up === "boolean" ? event.uplink_up : up;
    this.links.set(name, { up, downlinkUp, uplinkUp, since_s: time_s });
  }

  /** Notes what a satellite (its name or slug) has on board for the ground. */
  #backlog(satellite: string | null, items: number | null, bytes: number | null, time_s: number): void {
    if (satellite === null || items === null) return;
    const before = this.backlogs.get(satellite);
    if (before !== undefined && before.time_s > time_s) return;
    this.backlogs.set(satellite, { items, bytes: bytes ?? 0, time_s });
  }

  #power(event: RunEvent, time_s: number): void {
    const before = this.power.get(event.node);
    const [charge, temperature_c] = [number(event, "charge"), number(event, "temperature_c")];
    if (charge === null || temperature_c === null || (before !== undefined && before.time_s > time_s)) return;
    this.power.set(event.node, { charge, temperature_c, sunlit: event.sunlit === true, time_s });
  }

  #frame(event: RunEvent, time_s: number): void {
    const name = text(event, "frame");
    if (name === null) return;
    const frame = this.frames.get(name) ?? unknownFrame(name);
    const isGrounds = text(event, "satellite") !== null; // only events of the ground name the sender
    switch (event.event) {
      case "captured":
        frame.captured_s = time_s;
        break;
      case "inference_started":
        if (!isGrounds) frame.boardBegan_s ??= time_s;
        break;
      case "inference_finished":
        if (isGrounds) {
          frame.ground = event;
        } else {
          frame.board = event;
          frame.boardEnded_s = time_s;
        }
        break;
      case "send_started":
        frame.sendBegan_s ??= time_s;
        break;
      case "send_finished":
        frame.sentBytes = (frame.sentBytes ?? 0) + (number(event, "bytes_sent") ?? 0);
        break;
      case "received":
        frame.received_s ??= time_s;
        break;
      case "answered":
        frame.answered = event;
        frame.answered_s = time_s;
        break;
      default:
        if (!ENDS.has(event.event)) return;
        frame.trouble = [event.event.replaceAll("_", " "), text(event, "reason")].filter(Boolean).join(": ");
    }
    this.frames.set(name, frame);
  }
}

function unknownFrame(frame: string): FrameView {
  return {
    frame,
    captured_s: null,
    boardBegan_s: null,
    boardEnded_s: null,
    sendBegan_s: null,
    received_s: null,
    answered_s: null,
    board: null,
    ground: null,
    answered: null,
    sentBytes: null,
    trouble: null,
  };
}

function notice(event: RunEvent): string {
  if (event.event === "fault_began") {
    return `fault: ${text(event, "what") ?? ""}: ${text(event, "target") ?? ""}`;
  }
  return `${text(event, "program") ?? ""} is ${text(event, "state") ?? ""}`;
}

/**
 * Returns whether an answer has the words of the truth. Results (nodes/contract/answers) also know numbers as
 * digits, ranges and further right answers, so that the page may call an answer wrong that they call right.
 */
export function isRight(answer: string, truth: string): boolean {
  return plain(answer) === plain(truth);
}

function plain(words: string): string {
  return words
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "")
    .join(" ")
    .replace(/^[. ]+|[. ]+$/g, "");
}
