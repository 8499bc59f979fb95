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
