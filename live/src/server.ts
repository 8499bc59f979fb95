// Requests to the server that the page came from, with the token in the page's address.

export class Server {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  /** Returns JSON; null if there is none. Throws if the token is wrong, or the server is gone. */
  async json<T>(path: string): Promise<T | null> {
    const response = await this.#get(path);
    return response === null ? null : ((await response.json()) as T);
  }

  /** Returns text; null if there is none. */
  async text(path: string): Promise<string | null> {
    return (await this.#get(path))?.text() ?? null;
  }

  /** Returns the address of a picture for an <img>; null if there is none. */
  async picture(path: string): Promise<string | null> {
    const response = await this.#get(path);
    return response === null ? null : URL.createObjectURL(await response.blob());
  }

  /** Asks the run to stop. */
  async stop(): Promise<void> {
    await fetch("/stop", { method: "POST", headers: this.#headers });
  }

  get #headers(): Record<string, string> {
    return { Authorization: `Bearer ${this.#token}` };
  }

  async #get(path: string): Promise<Response | null> {
    const response = await fetch(path, { headers: this.#headers });
    if (response.status === 403) throw new Error(await response.text());
    return response.ok && response.status !== 204 ? response : null;
  }
}
