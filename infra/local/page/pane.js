// One client, with what is done to it. Its transport is that of the served client, with a hand on it: it shows every frame, can
// be cut, and takes one gateway after the other.
import { Sluice, stream, websocket } from "/sluice-stream.js";
import { createFrames, element } from "./frames.js";

const BURST = 50;
const BACKOFF = { min: 300, max: 2000 };
const WORDS = { connecting: "Connecting", connected: "Connected", waiting: "Waiting", closed: "Stopped", away: "Away" };
const DOORS = { ws: ["WebSocket", websocket], sse: ["event stream", stream] };

// What is in a field: JSON, or else text.
function valueOf({ value }) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

export class Pane {
  #part;
  #frames;
  #gateways;
  #client;
  #rows = new Map(); // target: {tr, id, subscription}
  #turn; // which gateway is asked next, of all
  #link; // the present connection: {door, gateway, openedAt, isBack, cut}
  #isCut = false;
  #gate; // while reading is paused: a promise, and what ends that
  #open;
  #counts = {};

  /** root: where it is shown. gateways: `[{name, url}]`. turn: the index of the one that is asked first. */
  constructor(root, name, { user, gateways, turn }) {
    const parts = {};
    for (const e of root.querySelectorAll("[data-part]")) parts[e.dataset.part] = e;
    this.#part = parts;
    this.root = root;
    this.name = name;
    this.#gateways = gateways;
    this.#turn = turn;
    root.setAttribute("aria-labelledby", name + "-title");
    const h2 = root.querySelector("h2");
    h2.id = name + "-title";
    h2.textContent = "Client " + name;
    root.querySelector(".frames").setAttribute("aria-label", "Frames of client " + name + ", newest first");
    this.#frames = createFrames(parts.frames, parts.count);
    parts.user.value = user;
    parts.target.value = "topic:room-1";
    gateways.forEach((g, i) => parts.gateway.append(new Option(g.name, i)));
    this.#listen();
    this.#state("away", "Not connected yet.");
  }

  get user() {
    return this.#part.user.value;
  }

  #listen() {
    const { connect, publish, call, cut, pause, burst, subscribe, clear, door, gateway } = this.#part;
    const submit = (form, handle) => form.addEventListener("submit", (e) => (e.preventDefault(), handle()));
    submit(connect, () => (this.#client ? this.#client.close() : this.#start()));
    submit(publish, () => this.#publish(1));
    submit(call, () => this.#call());
    burst.onclick = () => this.#publish(BURST);
    subscribe.onclick = () => this.#part.target.reportValidity() && this.#subscribe(this.#part.target.value);
    cut.onclick = () => this.#cut(!this.#isCut);
    pause.onclick = () => this.#pause(!this.#gate);
    clear.onclick = () => this.#frames.clear();
    door.onchange = gateway.onchange = () => this.#link?.cut("changed by hand"); // the next one is as chosen
  }

  // ---- the connection

  #start() {
    const { user, device } = this.#part;
    const isNew = user.value + " " + device.value;
    if (this.root.dataset.who !== isNew) for (const to of [...this.#rows.keys()]) this.#drop(to);
    this.root.dataset.who = isNew;
    this.#counts = { recovered: 0, handled: 0, came: 0 };
    this.#client = new Sluice({
      getToken: () => "dev:" + user.value, backoff: BACKOFF, transport: (request, on) => this.#connect(request, on),
      onEvent: (event) => this.#handle(event), onGap: (gap) => this.#say("A gap in " + gap.to + ": " + gap.reason + "."),
      ...(device.value ? { device: device.value } : { storage: sessionStorage, storageKey: "playground:" + this.name + ":" + user.value }),
    });
    this.#client.on("state", (s) => this.#changed(s));
    this.#client.on("resumed", ({ recovered }) => this.#back(recovered));
    this.#client.on("error", ({ error }) => this.#say(String(error.message ?? error)));
    for (const to of new Set(["topic:room-1", ...this.#rows.keys()])) if (!this.#isOwn(to)) this.#subscribe(to);
  }

  #isOwn(to) {
    return to === "all" || to.startsWith("user:");
  }

  #connect(request, on) {
    const { door, gateway } = this.#part;
    const chosen = gateway.value === "" ? this.#turn++ % this.#gateways.length : +gateway.value;
    const { name, url } = this.#gateways[chosen];
    const [doorName, open] = DOORS[door.value];
    let over = false;
    const end = (code, reason = "") => {
      if (over) return;
      over = true;
      this.#frames.show({ type: "close", code, reason });
      on.close(code, reason);
    };
    if (this.#isCut) {
      queueMicrotask(() => on.close(1006, "the link is cut"));
      return { send() {}, close() {} };
    }
    const isBack = Object.keys(request.hello.resume).length > 0 || !!request.query;
    this.#frames.show({ ...request.hello, token: "…" }, { sent: true });
    const inner = open({ ...request, url }, {
      frame: (text) => {
        if (over) return;
        this.#came(JSON.parse(text));
        on.frame(text);
      },
      close: end,
    });
    this.#link = { doorName, gateway: name, openedAt: Date.now(), isBack, cut: (why) => end(1006, why) }; // the client closes what it loses
    return {
      send: (text) => {
        this.#frames.show(JSON.parse(text), { sent: true });
        inner.send(text);
      },
      close: () => ((over = true), inner.close()),
    };
  }

  // An event of before this connection was missed. Ids begin with the time of Redis, which runs on this machine.
  #came(f) {
    let mark;
    if (f.type === "event") {
      this.#counts.came++;
      if (this.#link.isBack && f.id && parseInt(f.id) < this.#link.openedAt) {
        mark = "recovered";
        this.#counts.recovered++;
      }
    }
    if (f.type !== "pong") this.#frames.show(f, { mark });
    this.#count();
  }

  #cut(isCut) {
    this.#isCut = isCut;
    this.#press("cut", isCut, "Cut the link", "Mend the link");
    if (isCut) this.#link?.cut("cut by hand");
    else dispatchEvent(new Event("online")); // clients need not wait until their next attempt
  }

  // A handler that takes its time. What comes meanwhile waits in the client, and what is too much for it in the history.
  #pause(isPaused) {
    this.#open?.();
    this.#gate = isPaused ? new Promise((open) => (this.#open = open)) : undefined;
    this.#press("pause", isPaused, "Pause reading", "Read on");
  }

  #press(part, isPressed, off, on) {
    this.#part[part].setAttribute("aria-pressed", isPressed);
    this.#part[part].textContent = isPressed ? on : off;
  }

  #changed({ state, reason, code, retryInMs, server, transport, error }) {
    const { gateway } = this.#link ?? {};
    if (state === "connected") {
      this.#say("");
      return this.#state(state, `to ${gateway} (${server}) by ${transport === "sse" ? DOORS.sse[0] : DOORS.ws[0]}.`);
    }
    if (state === "waiting") return this.#state(state, `${reason || "The connection broke"} (${code}). Next attempt in ${Math.round(retryInMs)} ms.`);
    if (state === "connecting") return this.#state(state, "");
    this.#client = undefined;
    this.#pause(false);
    if (this.#isCut) this.#cut(false);
    for (const r of this.#rows.values()) r.subscription = undefined;
    this.#state(error ? "closed" : "away", error ? String(error.message) : "You left. Events that come now wait for you.");
  }

  #state(state, why) {
    const { part } = { part: this.#part };
    const isOff = !this.#client;
    this.root.dataset.state = state;
    part.state.textContent = WORDS[state];
    part.why.textContent = why;
    part.toggle.textContent = isOff ? "Connect" : "Disconnect";
    for (const name of ["user", "device"]) part[name].readOnly = !isOff;
    for (const name of ["cut", "pause", "send", "burst", "subscribe", "ask"]) part[name].disabled = isOff;
    this.#draw();
  }

  #back(recovered) {
    const { recovered: n } = this.#counts;
    this.#say(recovered ? "Back, and nothing is missing." : "Back, with a gap.", n);
  }

  #say(text) {
    this.#part.result.textContent = text;
  }

  // ---- events

  async #handle({ to, id }) {
    await this.#gate;
    this.#counts.handled++;
    const row = this.#row(to);
    row.id = id ?? row.id;
    this.#count();
  }

  #subscribe(to) {
    const row = this.#row(to);
    if (row.subscription) return;
    row.subscription = this.#client.subscribe(to, (event) => this.#handle(event));
    row.subscription.ready.then(
      (position) => ((row.id ??= position), this.#draw()),
      (error) => ((row.subscription = undefined), this.#client && this.#say(to + ": " + error.message)),
    );
    this.#draw();
  }

  async #call() {
    const { name, argument, reply } = this.#part;
    reply.textContent = name.value + " …";
    const begin = performance.now();
    const end = await this.#client.call(name.value, valueOf(argument)).then((data) => "replied " + JSON.stringify(data), (error) => "failed: " + error.message);
    reply.textContent = `${name.value} ${end} after ${Math.round(performance.now() - begin)} ms`;
  }

  async #publish(n) {
    const { target, data } = this.#part;
    if (!target.reportValidity()) return;
    const value = valueOf(data);
    const all = Array.from({ length: n }, (_, i) => this.#client.publish(target.value, n > 1 ? { n: i + 1, of: n } : value));
    const ends = await Promise.allSettled(all);
    const failed = ends.filter((e) => e.status === "rejected");
    this.#say(`${n - failed.length} of ${n} appended.${failed.length ? " " + failed[0].reason.message : ""}`);
  }

  // ---- positions

  #row(to) {
    if (!this.#rows.has(to)) this.#rows.set(to, { tr: element("tr") });
    return this.#rows.get(to);
  }

  #drop(to) {
    const row = this.#rows.get(to);
    row?.subscription?.unsubscribe();
    row?.tr.remove();
    this.#rows.delete(to);
  }

  #draw() {
    for (const [to, row] of this.#rows) {
      if (!row.tr.children.length) {
        const leave = element("button", "small", "Leave");
        leave.type = "button";
        leave.setAttribute("aria-label", `Client ${this.name} leaves ${to}`);
        leave.hidden = this.#isOwn(to);
        leave.onclick = () => (this.#drop(to), this.root.querySelector("summary").focus()); // which goes with its row
        const last = element("td");
        last.append(leave);
        row.tr.append(element("td", "to", to), element("td", "id"), last);
        this.#part.positions.append(row.tr);
      }
      row.tr.children[1].textContent = row.id ?? "";
    }
    const { came = 0, handled = 0, recovered = 0 } = this.#counts;
    const { repeats = 0, holes = 0, overflows = 0 } = this.#client?.stats ?? {};
    this.#part.stats.textContent = `${came} events came, ${recovered} of them recovered, ${handled} handled; ${repeats} repeats left out, ${holes} holes mended, ${overflows} times too much waited`;
  }

  #drawing;
  #count() {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = undefined;
      this.#draw();
    }, 50);
  }
}
