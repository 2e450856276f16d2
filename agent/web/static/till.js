// The page's way to its till: a session, calls, and the live state. Nothing is kept outside the page's memory.
//
// The address that opens the page carries a one-time code behind its #; it becomes a cookie, which no script can read,
// and a page token, which stands only here. After a reload the cookie alone gives a new token. A till that stops and
// starts again knows both still, so a page goes on by itself.

const CALL_MS_MAX = 10_000;
// A till on loopback answers at once or not at all. One that starts is joined within a second or so.
const RECONNECT_MS_MIN = 250;
const RECONNECT_MS_MAX = 1_000;
const HEALTH_MS_MAX = 1_000;
// A restart of the agent is shorter than this mostly, and then not worth a word.
const SILENT_AFTER_MS = 1_000;

// What each scope follows: where its state is read, and where it is told of each change.
const ROUTES = {
  page: { state: "/api/v1/screen", live: "/api/v1/live" },
  display: { state: "/api/v1/display", live: "/api/v1/display/live" },
};

// The till answered, and said no; `code` is stable, and `said` is all of its words.
export class TillRefused extends Error {
  constructor(said, status) {
    super(said.code);
    this.code = said.code;
    this.said = said;
    this.status = status;
  }
}

// The till did not answer: what was asked may have happened or not.
export class TillSilent extends Error {}

// The session is over, and only a new link opens another.
export class SessionEnded extends Error {}

export class Till {
  #token = null;
  #socket = null;
  #seq = 0;
  #attempt = 0;
  #silentTimer = null;
  #onState;
  #onLink;
  #scope;

  // `onState` is given each new state; `onLink` is given "live", "silent" or "ended". The scope is "page" or "display".
  constructor({ onState, onLink, scope = "page" }) {
    this.#scope = scope;
    this.#onState = onState;
    this.#onLink = onLink;
  }

  // Opens a session by the link's code, or without one by the cookie, and follows the state from then on.
  async open(code) {
    try {
      await this.#renew(code);
    } catch (error) {
      if (error instanceof SessionEnded) return this.#end();
      this.#lost();
      return this.#later(() => this.open(code));
    }
    this.#connect();
  }

  async get(path) {
    return this.#call("GET", path);
  }

  async post(path, body) {
    return this.#call("POST", path, body);
  }

  async put(path, body) {
    return this.#call("PUT", path, body);
  }

  async #call(method, path, body) {
    try {
      return await this.#ask(method, path, body);
    } catch (error) {
      if (!(error instanceof TillRefused) || error.status !== 401) throw error;
    }
    try {
      await this.#renew();
    } catch (error) {
      if (error instanceof SessionEnded) this.#end();
      throw error;
    }
    return this.#ask(method, path, body);
  }

  async #renew(code) {
    try {
      const session = await this.#ask("POST", "/api/v1/sessions", { for: this.#scope, ...(code && { code }) });
      this.#token = session.page_token;
    } catch (error) {
      if (!(error instanceof TillRefused) || error.status !== 401) throw error;
      // A link that was used already may have been used by this very window, before a reload.
      if (code && error.code === "page_link_refused") return this.#renew();
      throw new SessionEnded();
    }
  }

  async #ask(method, path, body) {
    const headers = { Accept: "application/json" };
    if (this.#token) headers["Page-Token"] = this.#token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    let said;
    try {
      answer = await fetch(path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(CALL_MS_MAX),
      });
      said = await answer.json();
    } catch (error) {
      throw new TillSilent(error.message);
    }
    if (!answer.ok) throw new TillRefused(said, answer.status);
    return said;
  }

  #connect() {
    const socket = new WebSocket(`ws://${location.host}${ROUTES[this.#scope].live}`);
    this.#socket = socket;
    this.#seq = 0;
    socket.onopen = () => {
      socket.send(JSON.stringify({ token: this.#token }));
      this.#reread(socket);
    };
    socket.onmessage = (message) => {
      const state = JSON.parse(message.data);
      const missed = this.#seq !== 0 && state.seq > this.#seq + 1;
      this.#take(socket, state);
      if (missed) this.#reread(socket);
    };
    socket.onclose = (closed) => {
      if (socket !== this.#socket) return;
      this.#lost();
      // 1008: the token is not good any more. The cookie may be.
      const again = closed.code === 1008 ? () => this.open() : () => this.#connect();
      this.#later(again);
    };
  }

  async #reread(socket) {
    try {
      this.#take(socket, await this.get(ROUTES[this.#scope].state));
    } catch {
      // The socket tells of a silent till and of an ended session; the next state on it is whole.
    }
  }

  #take(socket, state) {
    if (socket !== this.#socket || state.seq <= this.#seq) return;
    this.#seq = state.seq;
    this.#attempt = 0;
    clearTimeout(this.#silentTimer);
    this.#silentTimer = null;
    this.#onLink("live");
    this.#onState(state);
  }

  #lost() {
    this.#silentTimer ??= setTimeout(() => this.#onLink("silent"), SILENT_AFTER_MS);
  }

  // Acts once the till answers. It is asked by a plain call: a browser keeps a socket back for seconds where many of
  // them have failed.
  #later(act) {
    const longest = Math.min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2 ** this.#attempt);
    this.#attempt += 1;
    setTimeout(async () => ((await isThere()) ? act() : this.#later(act)), longest / 2 + (Math.random() * longest) / 2);
  }

  #end() {
    clearTimeout(this.#silentTimer);
    this.#socket?.close();
    this.#socket = null;
    this.#token = null;
    this.#onLink("ended");
  }
}

async function isThere() {
  try {
    return (await fetch("/healthz", { signal: AbortSignal.timeout(HEALTH_MS_MAX) })).ok;
  } catch {
    return false;
  }
}
