// The table of links: which are up, and how long until that changes.

import type { Description, LinkFacts } from "./description.ts";
import { element, setText } from "./dom.ts";
import { duration } from "./format.ts";
import type { RunView } from "./view.ts";

interface Row {
  link: LinkFacts;
  row: HTMLTableRowElement;
  state: HTMLTableCellElement;
  next: HTMLTableCellElement;
  isUp: boolean;
  next_s: number;
}

export interface Countdown {
  text: string;
  at_s: number;
}

/** Returns what comes next on a link, by its trace. */
export function countdown(link: LinkFacts, time_s: number): Countdown {
  for (const [aos_s, los_s] of link.contacts) {
    if (time_s < aos_s) return { text: `AOS in ${duration(aos_s - time_s)}`, at_s: aos_s };
    if (time_s < los_s) return { text: `LOS in ${duration(los_s - time_s)}`, at_s: los_s };
  }
  return { text: "no further contact", at_s: Number.POSITIVE_INFINITY };
}

export class ContactTable {
  readonly #rows: Row[];
  readonly #body: HTMLElement;
  #order = "";

  constructor(body: HTMLElement, run: Description, onChoice: (link: LinkFacts) => void) {
    this.#body = body;
    this.#rows = run.links.filter(({ kind }) => kind !== "earth").map((link) => newRow(link, onChoice));
    this.#body.append(...this.#rows.map(({ row }) => row));
  }

  /** Names of the links that are up, as shown. */
  get up(): string[] {
    return this.#rows.filter(({ isUp }) => isUp).map(({ link }) => link.name);
  }

  show(time_s: number, view: RunView): void {
    for (const row of this.#rows) {
      const state = view.links.get(row.link.name);
      const next = countdown(row.link, time_s);
      row.isUp = state?.up ?? false;
      row.next_s = next.at_s;
      row.row.classList.toggle("up", row.isUp);
      const isOneWay = state !== undefined && state.downlinkUp !== state.uplinkUp;
      const oneWay = isOneWay ? (state.downlinkUp ? ", down only" : ", up only") : "";
      setText(row.state, row.isUp ? `up${oneWay}` : "no contact");
      setText(row.next, next.text);
    }
    this.#sort();
  }

  /** Puts the links that are up first, then those whose contact comes next. */
  #sort(): void {
    const sorted = this.#rows.toSorted(
      (a, b) => Number(b.isUp) - Number(a.isUp) || a.next_s - b.next_s || (a.link.name < b.link.name ? -1 : 1),
    );
    const order = sorted.map(({ link }) => link.name).join("\n");
    if (order === this.#order || this.#body.contains(document.activeElement)) return;
    this.#order = order;
    this.#body.append(...sorted.map(({ row }) => row));
  }
}

function newRow(link: LinkFacts, onChoice: (link: LinkFacts) => void): Row {
  const button = element("button", { type: "button", className: "plain" }, link.name);
  button.addEventListener("click", () => onChoice(link));
  const name = element("th", { scope: "row" }, button);
  const state = element("td", {}, "no contact");
  const next = element("td", { className: "number" });
  const row = element("tr", {}, name, state, next);
  row.dataset.link = link.name;
  return { link, row, state, next, isUp: false, next_s: 0 };
}
