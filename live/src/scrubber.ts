// Controls of a replay: play and pause, the moment, the speed.

import type { ReplayClock } from "./clock.ts";
import { byId, setText } from "./dom.ts";

const EVERY_MS = 200;

/** Lets the controls in a bar lead a clock. */
export function control(clock: ReplayClock, bar: HTMLElement): void {
  const play = byId<HTMLButtonElement>("play");
  const moment = byId<HTMLInputElement>("moment");
  const speed = byId<HTMLSelectElement>("replay-speed");
  bar.hidden = false;
  moment.max = String(Math.ceil(clock.end_s));
  play.addEventListener("click", () => clock.play(!clock.plays));
  moment.addEventListener("input", () => clock.seek(moment.valueAsNumber));
  speed.addEventListener("change", () => (clock.speed = Number(speed.value)));
  clock.speed = Number(speed.value);
  setInterval(() => {
    setText(play, clock.plays ? "Pause" : "Play");
    const now_s = clock.now_s();
    if (document.activeElement !== moment || clock.plays) moment.value = String(now_s);
    moment.ariaValueText = `${now_s.toFixed(0)} s of ${clock.end_s.toFixed(0)} s`;
  }, EVERY_MS);
}
