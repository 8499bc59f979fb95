// The feed of frames: what was asked, what each model said and how sure it was, what was sent, where time went.

import type { Description, FrameFacts } from "./description.ts";
import { element } from "./dom.ts";
import { regionsOf, stagesOf, text, type SentRegions } from "./events.ts";
import { bytes, NOT_AVAILABLE, seconds, share } from "./format.ts";
import type { Server } from "./server.ts";
import { isRight, STEPS, type FrameView, type RunView } from "./view.ts";

const SHOWN_MAX = 40;
const PICTURES_MAX = 4 * SHOWN_MAX;
const PARTS = ["waited on board", "compact model", "waited for contact", "on the link", "on the ground"];

interface Card {
  card: HTMLElement;
  shown: string;
}

/** Returns the parts of a frame's time so far: label and seconds, those that are known. */
export function partsOf(frame: FrameView): [string, number][] {
  const parts: [string, number][] = [];
  for (const [index, label] of PARTS.entries()) {
    const from = frame[STEPS[index] ?? "captured_s"];
    const to = frame[STEPS[index + 1] ?? "captured_s"];
    if (from !== null && to !== null && to >= from) parts.push([label, to - from]);
  }
  return parts;
}

/** Returns how a frame stands, in a word or two. */
export function verdictOf(frame: FrameView, truth: string): "right" | "wrong" | "ended" | "under way" {
  if (frame.trouble !== null) return "ended";
  const answer = frame.answered === null ? null : text(frame.answered, "answer");
  if (answer === null) return "under way";
  return isRight(answer, truth) ? "right" : "wrong";
}

export class FrameFeed {
  readonly #list: HTMLElement;
  readonly #count: HTMLElement;
  readonly #server: Server;
  readonly #facts: Map<string, FrameFacts>;
  readonly #cards = new Map<string, Card>();
  readonly #pictures = new Map<string, Promise<string | null>>();

  constructor(list: HTMLElement, count: HTMLElement, run: Description, server: Server) {
    this.#list = list;
    this.#count = count;
    this.#server = server;
    this.#facts = new Map(run.frames.map((frame) => [frame.frame, frame]));
  }

  show(view: RunView): void {
    const captured = [...view.frames.values()].filter((frame) => this.#facts.has(frame.frame));
    captured.sort((a, b) => (b.captured_s ?? 0) - (a.captured_s ?? 0));
    const shown = captured.slice(0, SHOWN_MAX);
    const wanted = new Set(shown.map(({ frame }) => frame));
    for (const [name, { card }] of this.#cards) {
      if (wanted.has(name)) continue;
      card.remove();
      this.#cards.delete(name);
    }
    let before: Element | null = null;
    for (const frame of shown) {
      const { card } = this.#card(frame);
      const next: Element | null = before === null ? this.#list.firstElementChild : before.nextElementSibling;
      if (next !== card) this.#list.insertBefore(card, next);
      before = card;
    }
    const verdicts = captured.map((frame) => verdictOf(frame, this.#facts.get(frame.frame)?.truth ?? ""));
    const count = (wantedVerdict: string): number => verdicts.filter((one) => one === wantedVerdict).length;
    const limit = captured.length > SHOWN_MAX ? `; the last ${SHOWN_MAX} are shown` : "";
    const line =
      `${captured.length} of ${this.#facts.size} captured, ${count("right")} right, ${count("wrong")} wrong, ` +
      `${count("ended")} without an answer${limit}`;
    if (this.#count.textContent !== line) this.#count.textContent = line;
  }

  /** Returns the card of a frame, renewed if something has happened to it. */
  #card(frame: FrameView): Card {
    const now = [...STEPS.map((step) => frame[step]), frame.trouble, frame.sentBytes, frame.ground?.monotonic_s].join();
    const known = this.#cards.get(frame.frame);
    if (known?.shown === now) return known;
    const card = known?.card ?? element("li", { className: "card" });
    card.dataset.frame = frame.frame;
    const facts = this.#facts.get(frame.frame);
    if (facts !== undefined) card.replaceChildren(...this.#content(frame, facts));
    const made = { card, shown: now };
    this.#cards.set(frame.frame, made);
    return made;
  }

  #content(frame: FrameView, facts: FrameFacts): Node[] {
    const verdict = verdictOf(frame, facts.truth);
    const badge = element("span", { className: `badge ${verdict.replace(" ", "-")}` }, verdict);
    const title = element("h3", {}, `${frame.frame} `, badge);
    const prompt = element("p", { className: "prompt" }, facts.prompt);
    const list = element("dl");
    const fact = (name: string, value: string): void => {
      list.append(element("dt", {}, name), element("dd", {}, value));
    };
    fact("satellite", facts.satellite);
    fact("on board", onBoard(frame));
    fact("confidence", confidence(frame));
    fact("why", (frame.board === null ? null : text(frame.board, "why")) ?? NOT_AVAILABLE);
    const regions = frame.board === null ? null : regionsOf(frame.board);
    fact("where it looked", regions === null ? NOT_AVAILABLE : looked(regions));
    fact("sent", sent(frame));
    fact("on the ground", onGround(frame));
    fact("truth", facts.truth);
    if (frame.trouble !== null) fact("ended", frame.trouble);
    return [title, this.#picture(frame, facts), prompt, list, times(frame)];
  }

  #picture(frame: FrameView, facts: FrameFacts): HTMLElement {
    const figure = element("figure");
    const regions = frame.board === null ? null : regionsOf(frame.board);
    this.#add(figure, `/pictures/${encodeURIComponent(frame.frame)}`, `Captured image: ${facts.prompt}`, regions);
    if (frame.received_s !== null && frame.board?.decision === "offload") {
      this.#add(figure, `/received/${encodeURIComponent(frame.frame)}`, "The image as the ground received it");
    }
    return figure;
  }

  /** Lets go of the pictures that were fetched first, whose cards have left the page. */
  #forgetPictures(): void {
    for (const [path, picture] of this.#pictures) {
      if (this.#pictures.size <= PICTURES_MAX) return;
      this.#pictures.delete(path);
      void picture.then(release);
    }
  }

  #add(figure: HTMLElement, path: string, alternative: string, regions: SentRegions | null = null): void {
    const picture = this.#pictures.get(path) ?? this.#server.picture(path).catch(() => null);
    this.#pictures.set(path, picture);
    this.#forgetPictures();
    void picture.then((address) => {
      if (address !== null) figure.append(overlaid(element("img", { src: address, alt: alternative, width: 96 }), regions));
      else if (path.startsWith("/pictures")) figure.append(`picture: ${NOT_AVAILABLE}`);
    });
  }
}

/** Returns where the compact model looked most, in words. */
function looked({ rows, columns, relevance }: SentRegions): string {
  const most = relevance.indexOf(Math.max(...relevance));
  const total = relevance.reduce((sum, one) => sum + one, 0);
  const part = total > 0 ? ` (${share((relevance[most] ?? 0) / total)})` : "";
  return `most at row ${Math.floor(most / columns) + 1} of ${rows}, column ${(most % columns) + 1} of ${columns}${part}`;
}

/** Returns a picture with its regions: the brighter, the more relevant; those that were sent have a frame. */
function overlaid(picture: HTMLImageElement, regions: SentRegions | null): HTMLElement {
  if (regions === null) return picture;
  const grid = element("div", { className: "grid", ariaHidden: "true" });
  grid.style.gridTemplateColumns = `repeat(${regions.columns}, 1fr)`;
  const most = Math.max(...regions.relevance, 1e-9);
  for (const [index, relevance] of regions.relevance.entries()) {
    const cell = element("span", { className: (regions.reductions[index] ?? 0) > 0 ? "sent" : "" });
    cell.style.setProperty("--relevance", String(relevance / most));
    grid.append(cell);
  }
  return element("div", { className: "overlaid" }, picture, grid);
}

function release(picture: string | null): void {
  if (picture !== null) URL.revokeObjectURL(picture);
}

function onBoard({ board, boardBegan_s }: FrameView): string {
  if (board === null) return boardBegan_s === null ? "waits for the compact model" : "the compact model works";
  const answer = text(board, "answer");
  const decision = { answer: "accepts it", offload: "sends the image", drop: "drops the frame" };
  const decided = decision[text(board, "decision") as keyof typeof decision] ?? "no decision";
  return `${answer ? `“${answer}”` : "no answer"}; ${decided}`;
}

/** Returns how sure the compact model was, stage by stage. */
function confidence({ board }: FrameView): string {
  const stages = board === null ? [] : stagesOf(board);
  const words = stages.map(({ stage, confidence: tokens, network_confidence: network }) => {
    const named = stage < 0 ? "whole answer" : `stage ${stage}`;
    return `${named}: tokens ${share(tokens)}, network ${share(network)}`;
  });
  return words.join("; ") || NOT_AVAILABLE;
}

function sent({ board, sentBytes, sendBegan_s }: FrameView): string {
  const form = board === null ? null : text(board, "form");
  const regions = board === null ? null : regionsOf(board);
  const some = regions === null ? "" : ` ${regions.reductions.filter((one) => one > 0).length} of ${regions.reductions.length}`;
  const what = board?.decision === "offload" ? `image, ${form ?? "whole"}${some}` : "answer";
  if (sentBytes !== null) return `${what}, ${bytes(sentBytes)}`;
  return sendBegan_s === null ? "nothing yet" : `${what}, in transfer`;
}

function onGround({ answered, received_s }: FrameView): string {
  if (answered === null) return received_s === null ? "nothing yet" : "the regular model works";
  const by = text(answered, "answered_by") === "satellite" ? "the satellite's answer" : "the regular model's answer";
  return `“${text(answered, "answer") ?? ""}”: ${by}`;
}

/** Returns the bar of where the time went, and the same in words. */
function times(frame: FrameView): HTMLElement {
  const parts = partsOf(frame);
  const total = parts.reduce((sum, [, length]) => sum + length, 0);
  const bar = element("div", { className: "bar", ariaHidden: "true" });
  for (const [label, length] of parts) {
    const part = element("span", { className: `part-${PARTS.indexOf(label)}`, title: label });
    part.style.flexGrow = String(total > 0 ? Math.max(length / total, 0.01) * 100 : 1);
    bar.append(part);
  }
  const words = parts.map(([label, length]) => `${label} ${seconds(length)}`).join(", ");
  return element("div", { className: "times" }, bar, element("p", {}, words || `times: ${NOT_AVAILABLE}`));
}
