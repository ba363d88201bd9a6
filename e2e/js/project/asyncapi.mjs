// Checks a document against the schema of AsyncAPI 3.0, and that each of its references leads somewhere.
import specs from "@asyncapi/specs";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const document = JSON.parse(readFileSync(process.argv[2]));
const ajv = new Ajv({ strict: false });
addFormats.default(ajv);
const good = ajv.compile(specs.schemasWithoutId["3.0.0"]);
assert.ok(good(document), JSON.stringify(good.errors, null, 1));

const at = (path) => path.slice(2).split("/").reduce((value, name) => value?.[name], document);
const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, path]) => path);
assert.ok(references.length > 50);
assert.deepEqual(references.filter((path) => at(path) === undefined), []);
