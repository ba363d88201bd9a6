// What a program does in any runtime: run by package.test.js in Deno and Bun, with the URL of a gateway, a topic and a device.
import { Sluice } from "@sluice/client";

const [url, to, device] = process.argv.slice(2);
const sluice = new Sluice({ url, getToken: () => "dev:alice", device, autoAck: false, backoff: { min: 20, max: 100 } });
sluice.on("resumed", ({ recovered }) => console.log("resumed", recovered));
const subscription = sluice.subscribe(to);
await subscription.ready;
console.log("published", (await sluice.publish(to, 1)).duplicate);
for await (const event of subscription) {
  console.log("got", event.data);
  sluice.ack(event);
  if (event.data === "last") break;
}
sluice.close();
