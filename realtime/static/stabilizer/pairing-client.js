// The reference client of a television: from "show me a code" to "signed in". It needs nothing else,
// and nothing that a browser engine of 2018 does not have.
//
//   const client = new PairingClient({ facts: { app_type: "tv" }, store: (answer) => keep(answer) });
//   client.addEventListener("code", (event) => show(event.detail.userCode));
//   client.start();
//
// One client is one pairing: when it has ended, make another. `facts` is the body of
// POST /api/v1/pairings/. `store` is called once, with the members of `approved` in
// docs/protocol.md; the service hears that the credentials are safe when it has returned, or
// its promise is kept.
//
// Events, and what their `detail` holds:
//   connection  { kind, inMs }  connecting, live, polling, over; waiting: the next try is inMs away
//   code        { userCode, uri, completeUri, isNew }  isNew: it replaces an older one
//   state       { status }  how the pairing stands, in the service's words
//   approved    {}  the credentials are stored
//   denied      {}
//   ended       { reason }  approved, denied, expired, revoked, finished; refused: no pairing was
//               to be had; not_stored: `store` failed; stopped
"use strict";

const PROTOCOL = "stabilizer.pairing.v1";
const PAIRINGS = "/api/v1/pairings/";
const SHORTEST_MS = 1000;
const LONGEST_MS = 30000;
/** Connections in a row over which nothing was heard, before polling takes over. */
const PATIENCE = 3;
/** At most so long, and at least half of it, a polling client waits to try the WebSocket again. */
const AGAIN_MS = 30000;
const ANSWER_MS = 15000;
/** The service pings every 25 s: a connection that says nothing for so long is dead. */
const SILENCE_MS = 40000;
const FINISHED = 4500;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Exponential back-off with full jitter, after so many failures in a row. */
function backoffMs(failures) {
  return Math.random() * Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.max(0, failures - 1));
}

const againMs = () => AGAIN_MS * (0.5 + Math.random() / 2);

function isFinal({ status, retryAfterMs }) {
  return status !== 0 && status !== 429 && status < 500 && retryAfterMs === 0;
}

/** The answer would be the same for a retry: it makes no second pairing. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class PairingClient extends EventTarget {
  constructor({ facts, store, base = "", renewBeforeS = 20 }) {
    super();
    Object.assign(this, { facts, store, base, renewBeforeS });
    this.pairing = null;
    this.userCode = "";
    this.deadline = 0;
    this.version = 0;
    this.failures = 0;
    this.isLive = this.isRenewing = this.isStoring = this.isStored = this.isOver = false;
    this.round = null;
    this.timers = {};
  }

  /** Ask for a pairing, as often as it takes, and wait for what becomes of it. */
  async start() {
    this._connection("connecting");
    const { status, body } = await this._insist("POST", "", this.facts, newKey());
    if (this.isOver) return;
    if (status !== 201) {
      this._end("refused");
      return;
    }
    this.pairing = body;
    this.intervalS = body.interval;
    this._show(body.user_code, body.expires_in);
    this._open();
  }

  /** Give up; the pairing expires by itself. */
  stop() {
    this._end("stopped");
  }

  /** Until the code dies. */
  get secondsLeft() {
    return Math.max(0, (this.deadline - performance.now()) / 1000);
  }

  // The code.

  _show(userCode, expiresInS) {
    const deadline = performance.now() + expiresInS * 1000;
    const isNew = this.userCode !== "" && userCode !== this.userCode;
    // A pairing can be renewed for an hour. What a renewal no longer prolongs is left to end.
    const isLast = isNew && deadline - this.deadline < 2000;
    this.deadline = deadline;
    if (isLast) clearTimeout(this.timers.renew);
    else this._after("renew", (expiresInS - this.renewBeforeS) * 1000, () => this._renew());
    if (userCode === this.userCode) return;
    this.userCode = userCode;
    const uri = this.pairing.verification_uri;
    const complete = new URL(this.pairing.verification_uri_complete);
    complete.searchParams.set("user_code", userCode);
    this._emit("code", { userCode, uri, completeUri: complete.href, isNew });
  }

  async _renew() {
    this.isRenewing = true;
    if (this.isLive) this._say({ type: "renew" });
    else if (this.round) {
      const { status, body } = await this._insist("POST", `${this.pairing.udid}/renew/`);
      this.isRenewing = false;
      if (status === 200) this._show(body.user_code, body.expires_in);
    }
  }

  // The WebSocket.

  _open() {
    if (!this.round) this._connection("connecting");
    this.bye = null;
    this.hasHeard = false;
    try {
      this.socket = new WebSocket(this.pairing.websocket_url, PROTOCOL);
    } catch (error) {
      this._lost(0);
      return;
    }
    this.socket.onopen = () => this._greet();
    this.socket.onmessage = (event) => this._hear(JSON.parse(event.data));
    this.socket.onclose = (event) => this._lost(event.code);
    this._listen(ANSWER_MS);
  }

  _greet() {
    const { udid, device_code } = this.pairing;
    this._say({ type: "hello", udid, device_code, resume: this.version });
    if (this.isStored) this._say({ type: "ack" });
    this._listen(SILENCE_MS);
  }

  _hear(message) {
    this.hasHeard = true;
    this.failures = 0;
    if (message.type === "bye") {
      this.bye = message;
      return;
    }
    this._listen(SILENCE_MS);
    if (message.type === "ping") this._say({ type: "pong" });
    else if (message.type === "error") this._retry(message);
    else this._change(message);
    if (!this.isLive && !this.isOver) this._settle();
  }

  /** The first message of a connection that stays: whatever could not be said until now, is. */
  _settle() {
    this.isLive = true;
    this.round = null;
    this._connection("live");
    if (this.isStored) this._say({ type: "ack" });
    else if (this.isRenewing) this._say({ type: "renew" });
  }

  _change(message) {
    const lasts = message.type === "pending" || message.type === "approved";
    // What ends a pairing counts whatever its version: time changes none.
    if (lasts && message.version <= this.version) return;
    this._status(message.type);
    if (!lasts) this._end(message.type);
    else if (message.type === "approved") this._keep(message);
    else {
      this.version = message.version;
      this.isRenewing = false;
      this._show(message.user_code, message.expires_in);
    }
  }

  _retry(error) {
    if (error.retry_after_ms === undefined) return;
    this._after("again", error.retry_after_ms, () => {
      if (!this.isLive) return;
      if (this.isStored) this._say({ type: "ack" });
      else if (this.isRenewing) this._say({ type: "renew" });
    });
  }

  _lost(closeCode) {
    if (this.isOver) return;
    this._leave();
    const bye = this.bye;
    if (closeCode >= FINISHED || (bye && bye.retry_after_ms === undefined)) {
      this._finish();
      return;
    }
    if (!this.hasHeard) this.failures += 1;
    if (this.failures >= PATIENCE && !this.round) this._poll();
    const soonestMs = bye ? bye.retry_after_ms : 0;
    const inMs = Math.max(soonestMs, this.round ? againMs() : backoffMs(this.failures));
    if (!this.round) this._connection("waiting", inMs);
    this._after("open", inMs, () => this._open());
  }

  _listen(ms) {
    this._after("silence", ms, () => this._lost(0));
  }

  _leave() {
    this.isLive = false;
    clearTimeout(this.timers.silence);
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  _say(message) {
    this.socket.send(JSON.stringify(message));
  }

  // Polling, while there is no WebSocket to be had.

  async _poll() {
    const round = (this.round = {});
    this._connection("polling");
    if (this.isStored) this._acknowledge();
    else if (this.isRenewing) this._renew();
    while (this.round === round) {
      await pause(this.intervalS * 1000);
      if (this.round !== round) return;
      const { status, body } = await this._insist("GET", `${this.pairing.udid}/`);
      if (this.round !== round) return;
      if (status === 200) await this._find(body.status);
      else this._end(status === 410 ? "expired" : "refused");
    }
  }

  async _find(status) {
    this._status(status);
    if (status === "approved" || status === "delivered") await this._collect();
    else if (status === "acknowledged") this._finish();
    else if (status !== "pending") this._end(status);
  }

  async _collect() {
    if (this.isStoring) return;
    const { status, body } = await this._insist("POST", `${this.pairing.udid}/credentials/`);
    if (status === 200) await this._keep(body);
    else if (status === 403) this._end("denied");
    else if (status === 410) this._end("expired");
  }

  // The credentials.

  async _keep(answer) {
    // They may come twice, even over both ways at once, and are the same.
    if (this.isStoring || this.isOver) return;
    this.isStoring = true;
    try {
      await this.store(answer);
    } catch (error) {
      // Never acknowledged: the service takes back what it has handed over.
      this._end("not_stored");
      return;
    }
    this.isStored = true;
    this.version = answer.version || this.version;
    clearTimeout(this.timers.renew);
    this._emit("approved", {});
    this._acknowledge();
  }

  async _acknowledge() {
    if (this.isLive) this._say({ type: "ack" });
    else if (this.round) {
      const { status } = await this._insist("POST", `${this.pairing.udid}/ack/`);
      this._end(status === 204 ? "approved" : "expired");
    }
  }

  // Requests.

  /** Ask until there is an answer that another try would not change, and not sooner than told. */
  async _insist(method, path, facts, key) {
    for (let failures = 1; !this.isOver; failures += 1) {
      const answer = await this._ask(method, path, facts, key);
      if (answer.body.interval) this.intervalS = answer.body.interval;
      if (isFinal(answer)) return answer;
      const inMs = Math.max(answer.retryAfterMs, backoffMs(failures));
      if (!this.pairing) this._connection("waiting", inMs);
      await pause(inMs);
    }
    return { status: 0, body: {} };
  }

  async _ask(method, path, facts, key) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), ANSWER_MS);
    const headers = facts ? { "Content-Type": "application/json", "Idempotency-Key": key } : {};
    if (this.pairing) headers.Authorization = `Bearer ${this.pairing.device_code}`;
    const body = facts && JSON.stringify(facts);
    const how = { method, headers, body, signal: abort.signal, credentials: "omit" };
    try {
      const response = await fetch(this.base + PAIRINGS + path, how);
      const retryAfterMs = Number(response.headers.get("Retry-After") || 0) * 1000;
      const told = await response.json().catch(() => ({}));
      return { status: response.status, retryAfterMs, body: told };
    } catch (error) {
      return { status: 0, retryAfterMs: 0, body: {} };
    } finally {
      clearTimeout(timer);
    }
  }

  // The page.

  _status(status) {
    if (status !== this.status) this._emit("state", { status });
    this.status = status;
  }

  _connection(kind, inMs) {
    this._emit("connection", { kind, inMs });
  }

  /** There is nothing more to come. It is a success for whom the credentials have reached. */
  _finish() {
    this._end(this.isStored ? "approved" : "finished");
  }

  _end(reason) {
    if (this.isOver) return;
    this.isOver = true;
    this.round = null;
    this._leave();
    Object.values(this.timers).forEach(clearTimeout);
    this._connection("over");
    if (reason === "denied") this._emit("denied", {});
    this._emit("ended", { reason });
  }

  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** One timer of each name: a newer one stands in place of the older. */
  _after(name, ms, act) {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(act, ms);
  }
}

window.PairingClient = PairingClient;
