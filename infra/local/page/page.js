// The playground's client. It speaks the WebSocket protocol by hand, so that it can also be read as an example.
"use strict";

const MAX_ROWS = 500; // frames shown
const MAX_TEXT = 4000; // characters shown of one frame: 500 rows of 64 KiB would be 32 MiB of page
const MAX_OUTBOX = 50; // publishes that wait for their answer
const KEY_LIFE_MS = 9 * 60_000; // the server knows an idempotency key for 10 minutes; later it would be a second event
const REPUBLISH_MS = 15_000; // how long a publish waits for `published` before it is sent again
const WELCOME_MS = 10_000; // how long a new connection may say nothing
const STABLE_MS = 10_000; // a connection that lived this long starts the backoff anew

const COME_BACK = {
  1001: "The server went away.", 1006: "The connection broke, or no server answers.",
  1011: "The server had an internal error.", 1012: "The server is shutting down or restarting.",
  1013: "The server has too much to do.", 4001: "This page read too slowly.", 4002: "This page did not answer pings.",
  4003: "This page sent too much in too short a time.", 4401: "The token expired; a fresh one is used.",
};
const STOP = {
  1000: "The server closed the connection normally.", 1002: "The server saw a WebSocket protocol error.",
  1003: "The server does not take binary frames.", 1007: "The server got text that is not UTF-8.",
  1009: "The message was too large for the server.", 4500: "The server got too many bad frames.",
  4501: "The server refused the token: does it run with SLUICE_AUTH=dev?",
  4503: "The server says that this user may not be connected.",
};
const WORDS = { away: "Away", connecting: "Connecting", connected: "Connected", waiting: "Waiting", stopped: "Stopped" };

const $ = (id) => document.getElementById(id);
const redis = document.querySelector("meta[name=sluice-redis]").content;
const mayComeBack = (code) => code in COME_BACK || (code >= 4000 && code < 4500);

// ---- positions: the last id of each target, kept per user. In two tabs of one user the last writer wins.
let user = "", positions = new Map(), saving = 0;
const isId = (id) => typeof id === "string" && /^\d+(-\d+)?$/.test(id);

// Both parts are 64 bit numbers, beyond what a JavaScript number holds exactly.
function after(a, b) {
  const [ams, an = "0"] = a.split("-"), [bms, bn = "0"] = b.split("-");
  return ams === bms ? BigInt(an) > BigInt(bn) : BigInt(ams) > BigInt(bms);
}

function savePositions() {
  clearTimeout(saving);
  saving = 0;
  try {
    localStorage.setItem("sluice.positions:" + user, JSON.stringify(Object.fromEntries(positions)));
  } catch { /* storage is off: memory is enough until the page is closed */ }
}

function become(name) {
  if (name === user) return;
  if (user) savePositions();
  if (!user || $("target").value === "user:" + user) $("target").value = "user:" + name;
  user = name;
  outbox.clear(); // it belongs to the user before
  positions = new Map();
  try {
    const kept = Object.entries(JSON.parse(localStorage.getItem("sluice.positions:" + user)) ?? {});
    for (const [to, id] of kept) if (isId(id)) positions.set(to, id);
  } catch { /* storage is off, or holds something else */ }
  retarget();
  changed();
}

function setPosition(to, id) {
  if (isId(id)) positions.set(to, id);
  saving ||= setTimeout(savePositions, 200); // events can come by thousands a second, and storage is slow
  changed();
}

function forget(to) {
  positions.delete(to);
  setPosition(to);
}

// ---- connection
let socket = null, attempts = 0, goaway = null, retry = 0, watcher = 0;
let welcomedAt = 0, heardAt = 0, pingedAt = 0, pingMs = WELCOME_MS;
let replayed = 0, faults = 0; // on this connection: missed events that came; events out of order
const subscribed = new Set(); // targets
let since = ""; // when this connection was opened, as an id: the events before it were missed
const outbox = new Map(); // ref -> {frame, madeAt, sentAt}: published, but not yet answered

const isOff = () => ["away", "stopped"].includes(document.body.dataset.state);
function setState(state, why) {
  document.body.dataset.state = state;
  $("state").textContent = WORDS[state];
  $("why").textContent = why;
  $("user").readOnly = !isOff();
  for (const id of ["sub", "unsub", "send"]) $(id).disabled = state !== "connected";
  changed();
}

function open() {
  const s = socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/v1/ws", ["sluice.v1.json"]);
  goaway = null;
  welcomedAt = replayed = faults = 0;
  pingMs = WELCOME_MS;
  pingedAt = Date.now();
  since = pingedAt + "-0"; // an id begins with the time in ms of Redis, which runs on this machine
  watcher = setInterval(watch, 1000);
  setState("connecting", "Connecting as " + user + ".");
  const mine = (handle) => (e) => { if (s === socket) handle(e); }; // a socket that was left has nothing more to say
  s.onopen = mine(() => transmit({
    type: "connect", token: "dev:" + user, resume: positions.size ? Object.fromEntries(positions) : undefined,
  }));
  s.onmessage = mine((e) => receive(e.data));
  s.onclose = mine((e) => closed(e.code, e.reason));
}

function leave() {
  clearInterval(watcher);
  clearTimeout(retry);
  const s = socket;
  socket = null;
  subscribed.clear();
  savePositions();
  s?.close(1000);
}

function disconnect() {
  leave();
  if (done.has(2)) step(3);
  setState("away", "You left. Events that come now wait for you.");
}

function closed(code, reason) {
  const lived = welcomedAt && Date.now() - welcomedAt;
  leave();
  show({ type: "close", code, reason: reason || undefined });
  const why = COME_BACK[code] ?? STOP[code] ?? "The server closed the connection with code " + code + (reason ? ": " + reason + "." : ".");
  if (!mayComeBack(code)) {
    outbox.clear(); // what got this page thrown out must not be sent again
    return setState("stopped", why + " (" + code + ") This page does not come back by itself.");
  }
  if (lived > STABLE_MS) attempts = 0;
  const longest = Math.min(15_000, 500 * 2 ** attempts++);
  const wait = goaway ?? longest / 2 + Math.random() * longest / 2;
  retry = setTimeout(open, wait);
  setState("waiting", why + " (" + code + ") Coming back in " + (wait / 1000).toFixed(1) + " s.");
}

// Browsers do not show WebSocket pings to scripts, and keep a dead connection open for minutes: so this page asks.
function watch() {
  const now = Date.now();
  if (pingedAt && now - pingedAt > pingMs) return closed(1006, "nothing heard for " + pingMs / 1000 + " s");
  if (!welcomedAt) return;
  if (!pingedAt && now - heardAt > pingMs) {
    pingedAt = now;
    socket.send('{"type":"ping"}'); // not shown: it would fill the list
  }
  for (const entry of outbox.values()) if (now - entry.sentAt > REPUBLISH_MS) sendPublish(entry);
}

function transmit(frame) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify(frame));
  show(frame, { sent: true });
}

// A publish without an answer goes out again under the same idempotency key: it stays one event.
function sendPublish(entry) {
  if (Date.now() - entry.madeAt > KEY_LIFE_MS) {
    outbox.delete(entry.frame.ref);
    return show({ type: "given up", to: entry.frame.to, data: entry.frame.data, reason: "no answer; sending it again could make a second event" });
  }
  entry.sentAt = Date.now();
  transmit(entry.frame);
}

// ---- what the server says
const on = {
  welcome(f) {
    welcomedAt = Date.now();
    pingedAt = 0;
    if (f.ping_ms > 0) pingMs = f.ping_ms;
    setState("connected", "You are " + f.user + ", on " + f.server + ".");
    step(0);
    for (const entry of outbox.values()) sendPublish(entry);
  },
  subscribed(f) {
    subscribed.add(f.to);
    if (!positions.has(f.to)) setPosition(f.to, f.position); // an own id is kept until events replace it
    changed();
  },
  unsubscribed(f) {
    subscribed.delete(f.to);
    forget(f.to); // else resume would subscribe to it again
  },
  event: move,
  skip: move,
  gap(f) {
    setPosition(f.to, f.position);
    $("why").textContent = "Some events of " + f.to + " are gone (" + f.reason + "). It goes on with new ones.";
  },
  published(f) { outbox.delete(f.ref); },
  error(f) { outbox.delete(f.ref); },
  goaway(f) { goaway = Math.min(Math.max(Number(f.after_ms) || 0, 0), 3_600_000); },
};

// Moves the target's position to the frame's id, and says what is special about the frame. A repeat or a hole
// would be a broken promise of the server, so this page looks for both.
function move(f) {
  if (!isId(f.id)) return undefined; // live only: there is nothing to resume from
  const last = positions.get(f.to);
  if (last !== undefined && !after(f.id, last)) { faults++; return "repeated"; }
  const hole = last !== undefined && isId(f.prev) && after(f.prev, last);
  if (hole) faults++;
  setPosition(f.to, f.id);
  const missed = !after(f.id, since);
  if (f.type === "event") {
    if (missed) { replayed++; step(4); } else { step(1); step(2); }
  }
  return hole ? "hole before" : missed ? "missed" : undefined;
}

function receive(text) {
  heardAt = Date.now();
  pingedAt = welcomedAt ? 0 : pingedAt;
  let f;
  try { f = JSON.parse(text); } catch { /* shown below as it is */ }
  if (typeof f?.type !== "string") return show({ type: "unreadable", data: String(text) });
  show(f, { note: Object.hasOwn(on, f.type) ? on[f.type](f) : undefined });
}

// ---- the list of frames. Rows are made at most once a screen refresh, and only those that stay.
let waiting = [], latest = "", drawing = 0, total = 0;

function show(frame, { sent = false, note } = {}) {
  if (frame.type === "pong" && latest === "pong") return; // a quiet hour of pongs must not push the events out
  latest = frame.type;
  total++;
  waiting.push({ at: new Date(), frame, sent, note });
  if (waiting.length > MAX_ROWS) waiting.shift();
  changed();
}

const clock = (d) => d.toTimeString().slice(0, 8) + "." + String(d.getMilliseconds()).padStart(3, "0");
const shorten = (s) => s.length > MAX_TEXT ? s.slice(0, MAX_TEXT) + " … (" + s.length + " characters)" : s;

function el(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text; // text only: data comes from strangers
  return e;
}

function row({ at, frame, sent, note }) {
  const { type, to = "", id = "", data, ...rest } = frame;
  const li = el("li", sent ? "sent" : ""), kind = el("span", "kind"), body = el("span", "body");
  li.dataset.type = type;
  kind.append(el("b", "", (sent ? "↑ " : "") + type));
  if (note) kind.append(" ", el("em", "", note));
  if (data !== undefined) body.append(el("span", "data", shorten(JSON.stringify(data))), " ");
  for (const [key, value] of Object.entries(rest)) {
    if (value === undefined) continue;
    const pair = el("span");
    pair.append(el("span", "key", key), " ", shorten(typeof value === "string" ? value : JSON.stringify(value)));
    body.append(pair, " ");
  }
  li.append(el("time", "", clock(at)), kind, el("span", "to", to), el("span", "id", id), body);
  return li;
}

function changed() { drawing ||= requestAnimationFrame(draw); }

function draw() {
  drawing = 0;
  const list = $("frames");
  if (waiting.length) {
    list.prepend(...waiting.reverse().map(row));
    waiting = [];
    while (list.childElementCount > MAX_ROWS) list.lastElementChild.remove();
  }
  $("empty").hidden = list.childElementCount > 0;
  $("count").textContent = total === 0 ? "none yet" : total > list.childElementCount ? "newest " + list.childElementCount + " of " + total : String(total);
  if (replayed) {
    $("result").textContent = replayed + (replayed === 1 ? " missed event came, " : " missed events came, ") +
      (faults ? "but " + faults + " events were repeated or out of place." : "in order, none twice.");
  }
  const off = isOff();
  $("toggle").textContent = off ? (positions.size ? "Resume" : "Connect") : "Disconnect";
  $("forget").disabled = !off || positions.size === 0; // while connected, the next event would bring it back
  drawPositions();
}

const rows = new Map(); // target -> its row, kept so that the focus stays where it is
function drawPositions() {
  for (const [to, tr] of rows) if (!positions.has(to)) { tr.remove(); rows.delete(to); }
  for (const [to, id] of positions) {
    let tr = rows.get(to);
    if (!tr) {
      tr = el("tr");
      const use = el("button", "link", to), drop = el("button", "small", "Leave");
      use.title = "Make this the current target";
      use.onclick = () => { $("target").value = to; retarget(); };
      drop.setAttribute("aria-label", "Leave " + to);
      drop.onclick = () => welcomedAt && socket ? transmit({ type: "unsubscribe", ref: ref(), to }) : forget(to);
      const cells = [el("td"), el("td", "id"), el("td")];
      cells[0].append(use);
      cells[2].append(drop);
      tr.append(...cells);
      rows.set(to, tr);
      $("positions").append(tr);
    }
    tr.classList.toggle("live", subscribed.has(to));
    tr.children[1].textContent = id;
  }
}

// ---- the guide and the lines for a terminal
const done = new Set();
function step(i) {
  if (done.has(i)) return;
  done.add(i);
  const items = [...$("guide").children];
  items[i].classList.add("done");
  items[i].querySelector("b").append(el("span", "hidden", " (done)"));
  const next = items.findIndex((_, n) => !done.has(n));
  items.forEach((li, n) => n === next ? li.setAttribute("aria-current", "step") : li.removeAttribute("aria-current"));
}

const quote = (s) => /^[\w@%+=:,./-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'";
function retarget() {
  const to = $("target").value;
  const add = "redis-cli " + (redis ? "-u " + quote(redis) + " " : "") + "XADD sluice:events '*' to " + quote(to) + " data ";
  $("to").textContent = to;
  $("one").textContent = add + "'{\"hello\":1}'";
  $("three").textContent = "for n in 1 2 3; do " + add + "\"{\\\"missed\\\":$n}\"; done";
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch { // no permission, or not a secure context: the line is at least selected
    getSelection().selectAllChildren($(button.dataset.copy));
  }
}

// ---- what the person does
let refs = 0;
const ref = () => "r" + ++refs;
// 128 random bits. Not randomUUID: browsers have that on secure origins only.
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
const submit = (id, handle) => $(id).addEventListener("submit", (e) => { e.preventDefault(); handle(); });

submit("connect", () => {
  if (!isOff()) return disconnect();
  become($("user").value);
  attempts = 0;
  open();
});
submit("subscribe", () => transmit({ type: "subscribe", ref: ref(), to: $("target").value, after: positions.get($("target").value) }));
$("unsub").onclick = () => $("target").reportValidity() && transmit({ type: "unsubscribe", ref: ref(), to: $("target").value });
submit("publish", () => {
  if (!$("target").reportValidity() || document.body.dataset.state !== "connected") return;
  if (outbox.size >= MAX_OUTBOX) {
    $("why").textContent = MAX_OUTBOX + " publishes wait for their answer: is a worker running?";
    return;
  }
  let data = $("data").value;
  try { data = JSON.parse(data); } catch { /* then it is text */ }
  const frame = { type: "publish", ref: ref(), to: $("target").value, id: key(), event: $("event").value || undefined, data };
  const entry = { frame, madeAt: Date.now() };
  outbox.set(frame.ref, entry);
  sendPublish(entry);
});
$("user").addEventListener("change", () => $("user").checkValidity() && become($("user").value));
$("target").addEventListener("input", retarget);
$("forget").onclick = () => { for (const to of [...positions.keys()]) forget(to); };
$("clear").onclick = () => { waiting = []; latest = ""; total = 0; $("frames").replaceChildren(); changed(); };
for (const b of document.querySelectorAll("[data-copy]")) b.onclick = () => copy(b);
addEventListener("pagehide", savePositions);

become($("user").value);
