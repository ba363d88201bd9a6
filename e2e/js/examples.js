// The examples that the documents print.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const documents = ["../../README.md", "../../docs/functions.md", "../../shared/client/js/README.md"];

function texts(language) {
  const found = [];
  for (const name of documents) {
    const text = readFileSync(new URL(name, import.meta.url), "utf8");
    for (const [, kind, body] of text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) if (kind === language) found.push(body);
  }
  return found;
}

/** The lines with which README starts its function, and the kinds of events for it that they name. */
export function functionCommands() {
  const text = readFileSync(new URL(documents[0], import.meta.url), "utf8");
  const [, secret, kinds] = /^    export SLUICE_FUNCTION_SECRET="(.*)"\n    node chat.mjs &\n    SLUICE_FUNCTIONS=(\S+)=http:\/\/127.0.0.1:9000 make run\n/m.exec(text);
  return { secret, kinds };
}

/** The texts of a language that speak with Redis. */
export const redisExamples = (language) => texts(language).filter((body) => /redis/i.test(body) && !isFunction(body));

const isFunction = (body) => /webhook-signature/.test(body);

const isOfTabs = (body) => /client\/tabs"/.test(body);

/** The texts of a language, of those that use the client. */
export const examples = (language) =>
  texts(language).filter((body) => /sluice\.|Sluice\(/.test(body) && !/from "redis"/.test(body) && !isFunction(body) && !isOfTabs(body));

/** The worker, and what a tab does. */
export const tabsExamples = () => texts("js").filter(isOfTabs);

/** The one text of a language that is a function. */
export function functionExample(language) {
  const [text, ...more] = texts(language).filter(isFunction);
  if (!text || more.length) throw new Error(`the documents print ${more.length + !!text} functions in ${language}`);
  return text;
}

/** The function in Python with the one that tells a push service of unread events in place of what it answers. */
export function pushExample() {
  const [push, ...more] = texts("python").filter((body) => /push\.example\.com/.test(body));
  assert.ok(push && !more.length, "the documents print one such function");
  const text = functionExample("python").replace(/^def answer[^]*?(?=^class )/m, push + "\n");
  assert.match(text, /unread = event/);
  return text;
}
