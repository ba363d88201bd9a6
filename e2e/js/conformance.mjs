// The program that docs/conformance.md asks for, with the JavaScript client. Of several URLs each has a client of its own.
import { Sluice } from "../../shared/client/js/src/sluice.js";

for (const url of process.env.SLUICE_CONFORMANCE_URL.split(" ")) {
  const sluice = new Sluice({
    url, getToken: () => "kit", backoff: { min: 100, max: 1000 }, onGap: ({ reason }) => report({ gap: reason }),
  });
  const report = (data) => void sluice.publish("topic:kit", data).catch(() => {});
  sluice.on("error", () => {});
  sluice.subscribe("topic:kit", ({ data }) => report(data));
}
