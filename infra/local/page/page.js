// The playground: two clients, the gateways, the sessions in Redis, and what a function was called with.
import { element } from "./frames.js";
import { Pane } from "./pane.js";

const EVERY_MS = 1000;
const $ = (id) => document.getElementById(id);

const gateways = [{ name: "gateway 1", url: location.origin }];
const control = await fetch("/playground/gateways").then((r) => (r.ok ? r.json() : undefined), () => undefined);
if (control) gateways.push({ name: "gateway 2", url: control.url });
else gateways[0].name = "the gateways"; // behind a load balancer

const panes = [["A", "alice"], ["B", "bob"]].map(([name, user], turn) => {
  const root = $("pane").content.firstElementChild.cloneNode(true);
  root.id = "pane-" + name;
  $("panes").append(root);
  return new Pane(root, name, { user, gateways, turn });
});

// ---- gateways
const runs = gateways.map(() => true);
function drawGateways() {
  gateways.forEach(({ name, url }, i) => {
    const li = $("gateways").children[i] ?? $("gateways").appendChild(element("li"));
    if (!li.children.length) {
      li.append(element("b", "", name), element("span", "id", url), element("span", "state"));
      if (i === 1) {
        const button = element("button");
        button.type = "button";
        button.id = "gateway-toggle";
        button.onclick = () => toggleGateway(button);
        li.append(button);
      }
    }
    li.dataset.runs = runs[i];
    li.querySelector(".state").textContent = i === 0 && control ? "runs, and serves this page" : runs[i] ? "runs" : "was killed";
    const button = li.querySelector("button");
    if (button) button.textContent = runs[i] ? "Kill gateway 2" : "Start gateway 2";
  });
}

async function toggleGateway(button) {
  if (button.ariaDisabled) return; // not `disabled`: that would take the focus
  button.ariaDisabled = "true";
  const answer = await fetch("/playground/gateways/" + (runs[1] ? "kill" : "start"), { method: "POST" }).catch((error) => ({ text: () => error.message }));
  if (answer.ok) runs[1] = !runs[1];
  $("gateways-said").textContent = answer.ok ? (runs[1] ? "Gateway 2 runs again." : "Gateway 2 is dead: its clients come back by the other one.") : await answer.text();
  button.ariaDisabled = null;
  drawGateways();
}
drawGateways();

// ---- sessions
async function readSessions() {
  if (document.visibilityState === "visible") {
    const users = [...new Set(panes.map((p) => p.user).filter(Boolean))];
    const all = await Promise.all(users.map(async (user) => {
      const answer = await fetch("/v1/users/" + encodeURIComponent(user), { headers: { Authorization: "Bearer dev:" + user } }).catch(() => undefined);
      const { connections = [] } = answer?.ok ? await answer.json() : {};
      return connections.map((c) => ({ user, ...c }));
    }));
    const rows = all.flat().map(({ user, device, gateway, transport, since, conn }) => {
      const tr = element("tr");
      for (const text of [user, device ?? "", gateway, transport, new Date(since).toLocaleTimeString("en-GB"), conn]) tr.append(element("td", "", text));
      return tr;
    });
    $("sessions").replaceChildren(...rows);
  }
  setTimeout(readSessions, EVERY_MS);
}
readSessions();

// ---- the function
async function readFunction() {
  if (document.visibilityState === "visible") {
    const answer = await fetch("/playground/function").catch(() => undefined);
    const all = answer?.ok ? await answer.json() : [];
    const rows = all.reverse().map(({ at, user, seq, type, about, try: n, status, data, answer }) => {
      const tr = element("tr");
      tr.dataset.status = status;
      const what = type.replace("sluice.", "") + (about ? " " + about : "") + (n > 1 ? `, try ${n}` : "");
      for (const text of [new Date(at).toLocaleTimeString("en-GB"), user, String(seq), what, data, `${status} ${answer}`]) tr.append(element("td", "", text));
      return tr;
    });
    if (answer?.ok) $("function-log").replaceChildren(...rows);
  }
  setTimeout(readFunction, EVERY_MS);
}
$("function").hidden = !control?.function; // it is somebody else's
if (control?.function) readFunction();

// ---- the line for a terminal
const redis = document.querySelector("meta[name=sluice-redis]").content;
const quote = (s) => (/^[\w@%+=:,./-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'");
$("line").textContent = "redis-cli " + (redis ? "-u " + quote(redis) + " " : "") + "XADD sluice:events '*' to topic:room-1 data '{\"hello\":1}'";
$("copy").onclick = async () => {
  try {
    await navigator.clipboard.writeText($("line").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  } catch { // no permission, or not a secure context: the line is at least selected
    getSelection().selectAllChildren($("line"));
  }
};
