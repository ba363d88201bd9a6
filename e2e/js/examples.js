// The examples that the documents print.
import { readFileSync } from "node:fs";

const documents = ["../../README.md", "../../shared/client/js/README.md"];

/** The texts of a language, of those that use the client. */
export function examples(language) {
  const found = [];
  for (const name of documents) {
    const text = readFileSync(new URL(name, import.meta.url), "utf8");
    for (const [, kind, body] of text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)) {
      if (kind === language && /sluice\.|Sluice\(/.test(body) && !/from "redis"/.test(body)) found.push(body);
    }
  }
  return found;
}
