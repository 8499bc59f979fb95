// Events of a run, as docs/reference/events.md describes them, and the state that the broker tells beside them.

export interface RunEvent {
  event: string;
  node: string;
  monotonic_s: number;
  time_s?: number | null;
  sequence?: number | null;
  [field: string]: unknown;
}

export interface RunState {
  phase: "preparing" | "running" | "ended";
  time_s: number | null;
  speed: number;
}

/** Returns the event in one line of events.jsonl; null for anything else. */
export function readEvent(line: string): RunEvent | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return null;
    const { event, node, monotonic_s } = value as RunEvent;
    const named = typeof event === "string" && typeof node === "string";
    return named && typeof monotonic_s === "number" ? (value as RunEvent) : null;
  } catch {
    return null;
  }
}

/** Returns the field of an event as text; null where it is absent. */
export function text(event: RunEvent, field: string): string | null {
  const value = event[field];
  return typeof value === "string" ? value : null;
}

/** Returns the field of an event as a number; null where it is absent. */
export function number(event: RunEvent, field: string): number | null {
  const value = event[field];
  return typeof value === "number" ? value : null;
}

/** Returns the same text for an event that comes twice: from the folder and from the broker. */
export function identity(event: RunEvent): string {
  const own = event.sequence ?? `${event.event} ${String(event.link ?? event.frame ?? "")}`;
  return `${event.node} ${event.monotonic_s} ${own}`;
}

/** What the compact model said of a frame after one stage. */
export interface StageReading {
  stage: number;
  confidence: number | null;
  network_confidence: number | null;
}

/** The regions of a frame, row by row: where the compact model looked, and what of them was sent. */
export interface SentRegions {
  rows: number;
  columns: number;
  relevance: number[];
  reductions: number[];
}

/** Returns the stages of an inference, the one that decided last. */
export function stagesOf(event: RunEvent): StageReading[] {
  const earlier = Array.isArray(event.stages) ? (event.stages as StageReading[]) : [];
  const stage = number(event, "stage");
  if (stage === null) return earlier;
  const last = {
    stage,
    confidence: number(event, "confidence"),
    network_confidence: number(event, "network_confidence"),
  };
  return [...earlier, last];
}

/** Returns the regions of an inference whose frame is sent as regions; null for others. */
export function regionsOf(event: RunEvent): SentRegions | null {
  return typeof event.regions === "object" ? (event.regions as SentRegions | null) : null;
}
