// The examples for Node that the documents print are run as they are printed; browser.test.js opens the page.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { examples, functionCommands, functionExample } from "./examples.js";
import { client, directory, FUNCTION_SECRET, start, startFunction, System, taken, until } from "./harness.js";

test("examples of the documents", async (t) => {
  const { secret, kinds } = functionCommands();
  let key = execFileSync("sh", ["-c", `printf %s "${secret}"`], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  if (key === "whsec_") key = FUNCTION_SECRET; // there is no openssl
  const { url } = await startFunction(t, process.execPath, process.execArgv, functionExample("js"), directory(t), key);
  const system = await System.start(t, { SLUICE_AUTH: "dev", SLUICE_FUNCTIONS: `${kinds}=${url}`, SLUICE_FUNCTION_SECRET: key });
  const gateway = system.gateways[0].url;
  await taken(client(t, gateway, { getToken: () => "dev:probe" }), "chat.say");
  const here = (text) => text.replaceAll("http://127.0.0.1:8080", gateway);

  const dir = directory(t);
  mkdirSync(join(dir, "node_modules/@sluice"), { recursive: true });
  symlinkSync(fileURLToPath(new URL("../../shared/client/js", import.meta.url)), join(dir, "node_modules/@sluice/client"));
  const programs = examples("js").map((text, i) => {
    const file = join(dir, `${i}.mjs`);
    const begin = `import { Sluice } from "@sluice/client"; const sluice = new Sluice({ url: "${gateway}", getToken: () => "dev:alice" });\n`;
    writeFileSync(file, here(/^import/m.test(text) ? text : begin + text));
    return start(t, process.execPath, [...process.execArgv, file]);
  });
  assert.ok(programs.length >= 5);
  // Until each of them has subscribed, events come again.
  await until("Node prints what is added, to all that print", async () => {
    await system.add("topic:room-1", { text: "from Redis" });
    await system.add("topic:jobs", { text: "from Redis" });
    if (programs.filter((p) => p.said.includes("from Redis")).length >= 4) return true;
    throw new Error(programs.map((p) => p.said).join("\n---\n"));
  });
  await until("the chat works", () => programs.some((p) => p.said.includes("user:alice hi\n")));
  for (const p of programs) assert.doesNotMatch(p.said, /error/i);
});
