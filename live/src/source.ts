// Where events come from: the management broker of a run, or the folder of a finished one.

import mqtt from "mqtt";
import { readEvent, type RunEvent, type RunState } from "./events.ts";
import type { Server } from "./server.ts";

export interface Sink {
  event(event: RunEvent): void;
  state(state: RunState): void;
  connected(yes: boolean): void;
}

export interface Source {
  /** Whether the run goes on, so that its clock is not ours. */
  readonly isLive: boolean;
  start(sink: Sink): Promise<void>;
}

export interface BrokerAccess {
  port: number;
  username: string;
  password: string;
}

const RECONNECT_MS = 2000;
const EVENTS = "spaceverse/event/+";
const STATE = "spaceverse/state";

/** Returns the source of the run that the server shows. */
export async function sourceOf(server: Server): Promise<Source> {
  const access = await server.json<BrokerAccess>("/broker");
  return access === null ? new FileSource(server) : new BrokerSource(server, access);
}

/** Events of a finished run, all at once. */
class FileSource implements Source {
  readonly isLive = false;
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  async start(sink: Sink): Promise<void> {
    await readFolder(this.#server, sink);
    sink.connected(true);
  }
}

/** Events of a run as they happen; those before the page was opened are read from its folder. */
class BrokerSource implements Source {
  readonly isLive = true;
  readonly #server: Server;
  #access: BrokerAccess;

  constructor(server: Server, access: BrokerAccess) {
    this.#server = server;
    this.#access = access;
  }

  start(sink: Sink): Promise<void> {
    this.#connect(sink);
    return Promise.resolve();
  }

  #connect(sink: Sink): void {
    const { port, username, password } = this.#access;
    const client = mqtt.connect(`ws://${location.hostname}:${port}`, {
      clientId: username,
      username,
      password,
      clean: true,
      keepalive: 10,
      reconnectPeriod: 0, // by ourselves, with a session that nobody else has taken
      timerVariant: "native",
    });
    let ended = false;
    client.on("connect", () => {
      client.subscribe([EVENTS, STATE], { qos: 0 }, (error) => {
        if (error) return;
        // Now nothing is missed: what happened before is in the folder, what comes twice is told apart.
        void readFolder(this.#server, sink).then(() => sink.connected(true));
      });
    });
    client.on("message", (topic, payload) => {
      const line = payload.toString();
      if (topic === STATE) {
        const state = JSON.parse(line) as RunState;
        ended = state.phase === "ended";
        sink.state(state);
        return;
      }
      const event = readEvent(line);
      if (event !== null) sink.event(event);
    });
    client.on("error", () => undefined); // "close" follows
    client.on("close", () => {
      client.end(true);
      sink.connected(false);
      if (!ended) setTimeout(() => void this.#reconnect(sink), RECONNECT_MS);
    });
  }

  async #reconnect(sink: Sink): Promise<void> {
    try {
      const access = await this.#server.json<BrokerAccess>("/broker");
      if (access !== null) this.#access = access;
      this.#connect(sink);
    } catch {
      setTimeout(() => void this.#reconnect(sink), RECONNECT_MS); // gone with the run, or on a network that is
    }
  }
}

async function readFolder(server: Server, sink: Sink): Promise<void> {
  const lines = (await server.text("/events.jsonl")) ?? "";
  for (const line of lines.split("\n")) {
    const event = readEvent(line);
    if (event !== null) sink.event(event);
  }
}
