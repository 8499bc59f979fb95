// The table of satellites: what waits on board of each.

import type { Description, SatelliteFacts } from "./description.ts";
import { element, setText } from "./dom.ts";
import { bytes, NOT_AVAILABLE, share } from "./format.ts";
import type { BacklogView, RunView } from "./view.ts";

export class SatelliteTable {
  readonly #rows: { satellite: SatelliteFacts; items: HTMLElement; size: HTMLElement; power: HTMLElement }[] = [];

  constructor(body: HTMLElement, run: Description, onChoice: (satellite: string) => void) {
    for (const satellite of run.satellites) {
      const button = element("button", { type: "button", className: "plain" }, satellite.name);
      button.addEventListener("click", () => onChoice(satellite.name));
      const items = element("td", { className: "number" });
      const size = element("td", { className: "number" });
      const power = element("td", { className: "number" });
      body.append(element("tr", {}, element("th", { scope: "row" }, button), items, size, power));
      this.#rows.push({ satellite, items, size, power });
    }
  }

  show(view: RunView): void {
    for (const { satellite, items, size, power } of this.#rows) {
      const backlog = latest(view.backlogs.get(satellite.name), view.backlogs.get(satellite.slug));
      setText(items, backlog === null ? NOT_AVAILABLE : String(backlog.items));
      const state = view.power.get(satellite.name);
      const light = state?.sunlit ? "" : ", in eclipse";
      setText(power, state === undefined ? NOT_AVAILABLE : `${share(state.charge)}, ${state.temperature_c.toFixed(0)} °C${light}`);
      setText(size, backlog === null ? NOT_AVAILABLE : bytes(backlog.bytes));
    }
  }
}

function latest(one: BacklogView | undefined, other: BacklogView | undefined): BacklogView | null {
  if (one === undefined || other === undefined) return one ?? other ?? null;
  return one.time_s >= other.time_s ? one : other;
}
