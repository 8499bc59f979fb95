// Scenario time on the page: that of a run between two of its messages, or that of a replay.

import type { RunState } from "./events.ts";

export interface Clock {
  /** Scenario time; null before second 0 is set. */
  now_s(): number | null;
}

/** Follows a run, which tells its time once a second and whenever it jumps. */
export class RunClock implements Clock {
  #time_s: number | null = null;
  #speed = 1;
  #told_ms = 0;

  now_s(): number | null {
    if (this.#time_s === null) return null;
    return this.#time_s + ((performance.now() - this.#told_ms) / 1000) * this.#speed;
  }

  tell(state: RunState): void {
    if (state.phase === "ended") this.#set(state.time_s ?? this.now_s(), 0);
    else this.#set(state.time_s, state.speed);
  }

  jump(to_s: number): void {
    this.#set(to_s, this.#speed);
  }

  #set(time_s: number | null, speed: number): void {
    this.#time_s = time_s;
    this.#speed = speed;
    this.#told_ms = performance.now();
  }
}

/** Plays a finished run at a chosen speed, until its end. */
export class ReplayClock implements Clock {
  readonly end_s: number;
  #time_s = 0;
  #speed = 1;
  #plays = false;
  #since_ms = 0;

  constructor(end_s: number) {
    this.end_s = end_s;
  }

  now_s(): number {
    const passed_s = this.#plays ? ((performance.now() - this.#since_ms) / 1000) * this.#speed : 0;
    return Math.min(this.end_s, this.#time_s + passed_s);
  }

  get plays(): boolean {
    return this.#plays && this.now_s() < this.end_s;
  }

  seek(time_s: number): void {
    this.#time_s = Math.min(this.end_s, Math.max(0, time_s));
    this.#since_ms = performance.now();
  }

  play(yes: boolean): void {
    this.seek(yes && this.now_s() >= this.end_s ? 0 : this.now_s());
    this.#plays = yes;
  }

  set speed(speed: number) {
    this.seek(this.now_s());
    this.#speed = speed;
  }
}
