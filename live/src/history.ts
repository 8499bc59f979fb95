// All events so far, and the view of the run at any moment of scenario time.

import { identity, type RunEvent } from "./events.ts";
import { RunView } from "./view.ts";

export class History {
  #events: RunEvent[] = []; // in order of scenario time
  #known = new Set<string>();
  #view = new RunView();
  #applied = 0;

  /** Latest scenario time of an event. */
  get end_s(): number {
    return Math.max(0, this.#events.at(-1)?.time_s ?? 0);
  }

  /** Adds an event, unless it has come before. */
  add(event: RunEvent): void {
    const own = identity(event);
    if (this.#known.has(own)) return;
    this.#known.add(own);
    const place = this.#placeOf(moment(event));
    this.#events.splice(place, 0, event);
    if (place < this.#applied) {
      this.#view.apply(event); // a little late: the view takes events in any order
      this.#applied += 1;
    }
  }

  /** Returns the view of everything that had happened by a scenario time. */
  at(time_s: number): RunView {
    if (this.#applied > 0 && moment(this.#events[this.#applied - 1]) > time_s) {
      this.#view = new RunView();
      this.#applied = 0;
    }
    for (;;) {
      const next = this.#events[this.#applied];
      if (next === undefined || moment(next) > time_s) return this.#view;
      this.#view.apply(next);
      this.#applied += 1;
    }
  }

  /** Returns the number of events that are not later than a moment. */
  #placeOf(time_s: number): number {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (moment(this.#events[middle]) <= time_s) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Returns when an event happened; before scenario second 0 its time is not known. */
function moment(event: RunEvent | undefined): number {
  return event?.time_s ?? Number.NEGATIVE_INFINITY;
}
