// A real Chromium, driven over its DevTools protocol.
import { once } from "node:events";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { directory, start, until } from "./harness.js";

/** The path of a Chromium, or undefined. */
export function findChromium() {
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]) {
    for (const dir of process.env.PATH.split(delimiter)) if (existsSync(join(dir, name))) return join(dir, name);
  }
}

export class Browser {
  #socket;
  #waiting = new Map();
  #calls = 0;
  complaints = []; // of scripts and of the browser

  static async start(t) {
    const b = new Browser();
    const p = start(t, findChromium(), [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-dev-shm-usage",
      "--no-first-run", "--user-data-dir=" + directory(t), "--remote-debugging-port=0", "about:blank",
    ]);
    const url = await until("Chromium listens", () => /^DevTools listening on (ws:\S+)/m.exec(p.said)?.[1]);
    b.#socket = new WebSocket(url);
    b.#socket.onmessage = (e) => b.#take(JSON.parse(e.data));
    await once(b.#socket, "open");
    t.after(() => Promise.race([b.call("Browser.close"), p.over])); // it may end before it answers
    return b;
  }

  #take({ id, result, error, method, params }) {
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    const call = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) call?.reject(new Error(error.message));
    else call?.resolve(result);
  }

  call(method, params = {}, sessionId = undefined) {
    return new Promise((resolve, reject) => {
      const id = ++this.#calls;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  /** Opens a tab. */
  async open(url) {
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this, sessionId, targetId);
    for (const domain of ["Page", "Runtime", "Network"]) await tab.call(domain + ".enable");
    await tab.go(url);
    return tab;
  }

  /** Ends the shared workers whose address has a part, as a crash would. */
  async endWorkers(part) {
    const { targetInfos } = await this.call("Target.getTargets", { filter: [{ type: "shared_worker" }] });
    const found = targetInfos.filter(({ url }) => url.includes(part));
    for (const { targetId } of found) await this.call("Target.closeTarget", { targetId });
    return found.length;
  }
}

export class Tab {
  constructor(browser, session, target) {
    this.call = (method, params) => browser.call(method, params, session);
    this.close = () => browser.call("Target.closeTarget", { targetId: target });
  }

  /** Ends its process. */
  crash() {
    this.call("Page.crash"); // is not answered
  }

  go(url) {
    return this.call("Page.navigate", { url });
  }

  /** What an expression gives. */
  async eval(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression is true. */
  wait(expression) {
    return until(expression, async () => {
      if (await this.eval(expression)) return true;
      throw new Error(await this.eval("JSON.stringify([location.href, document.body?.innerText, window.got, window.sluice, { ...sessionStorage }])"));
    });
  }
}
